import pickle
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models import resnet

from fer_edge.contract import FER2013, Contract
from fer_edge.errors import ModelError
from fer_edge.models import build_model
from fer_edge.models.head import head_tensors
from fer_edge.models.trained import load_model, load_trained
from fer_edge.models.weights import contract_facts, load_state, load_weights
from fer_edge.training.checkpoint import save_model


class CreatesFile:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A compact whose every tensor differs from those of a fresh one."""
    model = build_model("compact")
    for tensor in model.state_dict().values():
        tensor.add_(1)
    return model


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    """A file of ImageNet weights as torchvision publishes them: 1000 classes, no prefix."""
    with torch.device("meta"):
        state = resnet.resnet50().state_dict()
    return {k: torch.full(v.shape, 3, dtype=v.dtype) for k, v in state.items()}


def assert_same(a: nn.Module, b: nn.Module) -> None:
    torch.testing.assert_close(a.state_dict(), b.state_dict(), rtol=0, atol=0)


def assert_backbone_of(model: nn.Module, imagenet: dict[str, Tensor]) -> None:
    """All layers hold the threes of ``imagenet``, except for the new classifier."""
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, imagenet[name]) != name.startswith("fc."), name
    assert model.network.fc.out_features == 7


@pytest.mark.parametrize("save", [save_file, torch.save])
def test_weights_survive_a_file(
    trained: nn.Module, tmp_path: Path, save: Callable[..., None]
) -> None:
    path = tmp_path / ("w.safetensors" if save is save_file else "w.pt")
    save(trained.state_dict(), path)
    assert_same(build_model("compact", weights=path), trained)


def test_weights_of_another_model_are_refused(trained: nn.Module, tmp_path: Path) -> None:
    save_file({"fc.weight": torch.zeros(7, 4)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"no tensor stem\.0\.weight: it belongs to another model"):
        build_model("compact", weights=tmp_path / "other.safetensors")

    state = trained.state_dict() | {"classifier.weight": torch.zeros(8, 256)}
    save_file(state, tmp_path / "eight.safetensors")
    with pytest.raises(ModelError, match=r"classifier\.weight has shape \(8, 256\).*\(7, 256\)"):
        build_model("compact", weights=tmp_path / "eight.safetensors")


def test_a_new_head_keeps_the_features(tmp_path: Path) -> None:
    """Of a network with another head, and of the same."""
    linear = build_model("resnet50-linear")
    save_file(linear.state_dict(), tmp_path / "linear.safetensors")
    with pytest.raises(ModelError, match=r"no tensor network\.fc\.0\.weight.*train --new-head"):
        build_model("resnet50-fc", weights=tmp_path / "linear.safetensors")
    for name in ("resnet50-fc", "resnet50-linear"):
        model = build_model(name, weights=tmp_path / "linear.safetensors", new_head=True)
        for tensor, value in linear.network.state_dict().items():
            if not tensor.startswith("fc."):
                assert torch.equal(value, model.network.state_dict()[tensor]), tensor
    assert not torch.equal(model.network.fc.weight, linear.network.fc.weight)
    # A file with the names of torchvision, whose head would fit.
    save_file(linear.network.state_dict(), tmp_path / "bare.safetensors")
    model = build_model("resnet50-linear", weights=tmp_path / "bare.safetensors", new_head=True)
    assert torch.equal(model.network.conv1.weight, linear.network.conv1.weight)
    assert not torch.equal(model.network.fc.weight, linear.network.fc.weight)


def test_a_new_head_is_of_the_same_features(trained: nn.Module, tmp_path: Path) -> None:
    save_file(trained.state_dict(), tmp_path / "compact.safetensors")
    with pytest.raises(ModelError, match="belongs to another model") as refused:
        build_model("resnet50-fc", weights=tmp_path / "compact.safetensors", new_head=True)
    assert "--new-head" not in str(refused.value)


@pytest.mark.parametrize(
    ("network", "head"),
    [
        (lambda: build_model("resnet50-linear"), "network.fc."),
        (lambda: build_model("resnet50-fc"), "network.fc."),
        (lambda: build_model("vgg19"), "network.classifier."),
        (lambda: build_model("compact"), "classifier."),
        (lambda: models.convnext_tiny(), "classifier."),
        (lambda: models.vit_b_16(), "heads."),
        (lambda: models.swin_t(), "head."),
        # The last layer alone of a network that is one sequence.
        (lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8, 7)), "2."),
        (lambda: nn.Sequential(nn.Conv2d(1, 7, 3)), None),
    ],
)
def test_the_head_is_what_comes_after_the_features(
    network: Callable[[], nn.Module], head: str | None
) -> None:
    with torch.device("meta"):
        model = network()
    wanted = [name for name in model.state_dict() if head and name.startswith(head)]
    assert head_tensors(model) == wanted


def test_a_network_without_linear_layers_has_no_head_to_renew() -> None:
    model = nn.Sequential(nn.Conv2d(1, 7, 3))
    with pytest.raises(ModelError, match=r"no head to renew\. Train it without --new-head"):
        load_state(model, {}, "file", new_head=True)


@pytest.mark.parametrize("save", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o, 2))])
def test_a_pickle_with_code_is_refused_and_does_not_run(
    tmp_path: Path, save: Callable[[object, Path], None]
) -> None:
    save({"stem.0.weight": CreatesFile(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match="was not loaded"):
        build_model("compact", weights=tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"hello world", b"\xff\xd8\xff\xe0 a picture", b"PK\3\4"])
def test_a_foreign_file_is_no_weights(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"foreign{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"foreign{suffix}") as caught:
        build_model("compact", weights=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("held", [torch.zeros(3), [torch.zeros(3)], {"state_dict": {}}])
def test_tensors_without_names_are_no_weights(tmp_path: Path, held: object) -> None:
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="not a state dict"):
        build_model("compact", weights=tmp_path / "w.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights file .*nowhere\.pt"):
        build_model("compact", weights=tmp_path / "nowhere.pt")


def test_pretrained_offline_says_how_to_get_the_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(ModelError, match=r"resnet50 cannot be downloaded: .*no route") as caught:
        build_model("resnet50", pretrained=True)
    assert "--weights" in caught.value.hint


def test_pretrained_fills_all_but_the_classifier(
    monkeypatch: pytest.MonkeyPatch, imagenet: dict[str, Tensor]
) -> None:
    asked: dict[str, object] = {}

    def download(_: str, **options: object) -> dict[str, Tensor]:
        asked.update(options)
        return imagenet

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    assert_backbone_of(build_model("resnet50", pretrained=True), imagenet)
    assert asked["check_hash"]
    assert asked["weights_only"]


def test_the_file_of_torchvision_does_what_pretrained_does(
    imagenet: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(imagenet, tmp_path / "resnet50.pth")
    model = build_model("resnet50", weights=tmp_path / "resnet50.pth")
    assert_backbone_of(model, imagenet)
    # A whole model is asked for, and this one names a thousand things.
    with pytest.raises(ModelError, match=r"network\.fc\.weight has shape \(1000, 2048\)"):
        load_weights(model, tmp_path / "resnet50.pth")

    torch.save({k: v for k, v in imagenet.items() if "layer4.2" not in k}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"layer4\.2\.conv1\.weight: it belongs to another model"):
        build_model("resnet50", weights=tmp_path / "other.pth")


def test_compact_has_no_imagenet_weights() -> None:
    with pytest.raises(ModelError, match="no ImageNet weights for compact"):
        build_model("compact", pretrained=True)


def test_a_deeper_network_starts_as_the_function_of_the_shallower_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shallow = build_model("resnet14").eval()
    for module in shallow.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    save_model(tmp_path / "w.safetensors", shallow, {})
    deep = build_model("resnet50", weights=tmp_path / "w.safetensors").eval()
    faces = torch.randn(4, 1, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(deep(faces), shallow(faces), rtol=0, atol=1e-5)
    # Identities, but ones that learn.
    block = deep.network.layer3[5]
    assert not block.bn3.weight.any()
    assert block.conv3.weight.any()


def test_a_block_with_half_of_its_tensors_is_not_filled_in(tmp_path: Path) -> None:
    state = build_model("resnet14").state_dict()
    del state["network.layer2.0.bn3.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"no tensor network\.layer2\.0\.bn3\.weight"):
        build_model("resnet50", weights=tmp_path / "w.safetensors")


def test_a_trained_file_says_which_faces_its_network_takes(tmp_path: Path) -> None:
    contract = Contract(96, "rgb")
    facts = {"model": "resnet14"} | contract_facts(contract)
    save_model(tmp_path / "best.safetensors", build_model("resnet14", contract), facts)
    assert load_trained(tmp_path / "best.safetensors").contract == contract
    # Files from before sizes could be chosen say nothing.
    save_model(tmp_path / "old.safetensors", build_model("compact"), {"model": "compact"})
    assert load_trained(tmp_path / "old.safetensors").contract == FER2013


def test_a_trained_file_says_which_model_it_holds(trained: nn.Module, tmp_path: Path) -> None:
    save_model(tmp_path / "best.safetensors", trained, {"model": "compact"})
    assert_same(load_model(tmp_path / "best.safetensors"), trained)

    save_model(tmp_path / "nameless.safetensors", trained, {})
    with pytest.raises(ModelError, match="does not say which model"):
        load_model(tmp_path / "nameless.safetensors")

    (tmp_path / "damaged.safetensors").write_bytes(b"hello world")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load_model(tmp_path / "damaged.safetensors")

    with pytest.raises(ModelError, match=r"no weights file .*nowhere"):
        load_model(tmp_path / "nowhere.safetensors")
