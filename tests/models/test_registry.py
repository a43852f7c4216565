import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fer_edge.contract import FER2013, Color, Contract
from fer_edge.errors import MissingDependencyError, ModelError, UsageError
from fer_edge.models import MODELS, ModelSpec, build_model, model_contract, model_spec
from fer_edge.models.trial import check_model


def multiply_adds(model: nn.Module) -> int:
    """Multiply-adds of convolutions and linear layers for one face."""
    total = 0

    def count(layer: nn.Module, _: tuple[Tensor], out: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += out.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            total += layer.weight.numel()

    for module in model.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 1, 48, 48))
    return total


def takes_gray_alone(model: nn.Module, name: str) -> bool:
    """Its first convolution has one channel, and its builder does not ask for the colour."""
    spec = model_spec(name)
    module, _, function = spec.builder.partition(":")
    builder = getattr(importlib.import_module(module, "fer_edge.models"), function)
    first = model.get_submodule(spec.first_convolution or "")
    return first.in_channels == 1 and "color" not in inspect.signature(builder).parameters


@pytest.fixture(scope="module")
def build() -> Callable[[str], nn.Module]:
    built: dict[str, nn.Module] = {}

    def get(name: str) -> nn.Module:
        return built.setdefault(name, build_model(name).eval())

    return get


def widths(model: nn.Module) -> list[int]:
    return [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_turns_faces_into_seven_logits(
    build: Callable[[str], nn.Module], name: str
) -> None:
    model = build(name)
    with torch.no_grad():
        logits = model(torch.randn(2, 1, 48, 48))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    first = model.get_submodule(model_spec(name).first_convolution)
    assert isinstance(first, nn.Conv2d)
    assert first.in_channels in (1, 3)
    assert first is next(m for m in model.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("name", MODELS)
def test_the_page_of_models_has_its_size(build: Callable[[str], nn.Module], name: str) -> None:
    """The message has the figures for a new row."""
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    parameters = sum(p.numel() for p in build(name).parameters()) / 1e6
    products = multiply_adds(build(name)) / 1e6
    found = re.search(rf"^\| `{name}` \| (.*) \| ([\d.]+) M \| (\d+) M \|$", page, re.MULTILINE)
    assert found, f"docs/models.md has no | `{name}` | … | {parameters:.1f} M | {products:.0f} M |"
    what, written, multiplied = found.groups()
    digits = len(written.partition(".")[2])
    assert written == f"{parameters:.{digits}f}"
    assert multiplied == f"{products:.0f}"
    assert ("gray alone" in what) == takes_gray_alone(build(name), name)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_larger_faces(build: Callable[[str], nn.Module], name: str) -> None:
    assert model_contract(name) == FER2013
    for size in (64, 97, 112):
        check_model(build(name), name, model_contract(name, size))


@pytest.mark.parametrize("name", MODELS)
def test_those_made_for_colour_take_it(build: Callable[[str], nn.Module], name: str) -> None:
    if takes_gray_alone(build(name), name):
        with pytest.raises(UsageError, match=f"{name} cannot take rgb faces of 64x64"):
            check_model(build(name), name, model_contract(name, 64, "rgb"))
    else:
        contract = model_contract(name, 64, "rgb")
        check_model(build_model(name, contract), name, contract)


def test_a_face_that_a_model_shrinks_to_nothing_is_refused(
    build: Callable[[str], nn.Module],
) -> None:
    with pytest.raises(UsageError, match="vgg19 cannot take grayscale faces of 24x24"):
        check_model(build("vgg19"), "vgg19", model_contract("vgg19", 24))


class Mine(nn.Module):
    def __init__(self, size: int, color: str, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.contract = Contract(size, color, labels)  # type: ignore[arg-type]


def of_three(
    labels: tuple[str, ...] = ("joy", "anger"), size: int = 96, color: Color = "rgb"
) -> nn.Module:
    return Mine(size, color, labels)


def of_one(size: int) -> nn.Module:
    return Mine(size, "gray", FER2013.labels)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("of_three", "of_one", "impossible"):
        spec = ModelSpec(name, "for tests", f"{__name__}:{name}")
        monkeypatch.setitem(MODELS, name, spec)


def impossible(size: int = 1000) -> nn.Module:
    return Mine(size, "gray", FER2013.labels)


@pytest.mark.usefixtures("registered")
def test_a_builder_says_what_its_network_takes_and_gets_what_is_asked_for() -> None:
    own = Contract(96, "rgb", ("joy", "anger"))
    assert model_contract("of_three") == build_model("of_three").contract == own
    asked = model_contract("of_three", 64, "gray")
    assert asked == Contract(64, "gray", ("joy", "anger"))
    assert build_model("of_three", asked).contract == asked
    # What it does not say is as the networks of this package have it.
    assert model_contract("of_one") == build_model("of_one").contract == FER2013
    assert build_model("of_one", model_contract("of_one", 64)).contract.size == 64


@pytest.mark.usefixtures("registered")
def test_defaults_that_are_no_contract_are_named() -> None:
    with pytest.raises(ModelError, match=r"impossible is registered as .*faces of 1000 pixels"):
        model_contract("impossible")
    assert model_contract("impossible", 48) == FER2013
    with pytest.raises(UsageError, match="of_one cannot be built for faces of 300 pixels"):
        model_contract("of_one", 300)


@pytest.mark.parametrize(
    ("name", "parameters", "most"), [("compact", 3e6, 90e6), ("nano", 0.8e6, 30e6)]
)
def test_those_for_small_processors_keep_their_limits(
    build: Callable[[str], nn.Module], name: str, parameters: float, most: float
) -> None:
    model = build(name)
    assert sum(p.numel() for p in model.parameters()) <= parameters
    # The stem alone is more than this.
    assert 400_000 < multiply_adds(model) <= most
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(c.out_channels % 32 == 0 for c in convolutions)


def test_resnet50_has_one_linear_layer_and_its_variant_two_more(
    build: Callable[[str], nn.Module],
) -> None:
    assert widths(build("resnet50")) == [7]
    head = build("resnet50-fc").network.fc
    assert widths(head) == [1024, 4096, 7]
    assert [m.p for m in head if isinstance(m, nn.Dropout)] == [0.5, 0.5]


def test_vgg19_has_nineteen_layers_with_weights_and_batch_norm(
    build: Callable[[str], nn.Module],
) -> None:
    kinds = [type(m) for m in build("vgg19").modules()]
    assert kinds.count(nn.Conv2d) == kinds.count(nn.BatchNorm2d) == 16
    assert kinds.count(nn.Linear) == 3
    assert nn.Dropout in kinds


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("resnet50", "network.avgpool"),
        ("inception", "network.avgpool"),
        ("se-resnet50", "network.global_pool"),
        ("efficientnet-lite0", "network.global_pool"),
    ],
)
def test_stems_for_small_faces_leave_three_by_three_features(
    build: Callable[[str], nn.Module], name: str, pool: str
) -> None:
    model = build(name)
    seen: list[Tensor] = []
    handle = model.get_submodule(pool).register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    with torch.no_grad():
        model(torch.zeros(1, 1, 48, 48))
    handle.remove()
    assert seen[0].shape[2:] == (3, 3)


def test_colour_networks_see_the_gray_channel_three_times(
    build: Callable[[str], nn.Module],
) -> None:
    model = build("resnet50")
    seen: list[Tensor] = []
    handle = model.network.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    faces = torch.randn(1, 1, 48, 48)
    with torch.no_grad():
        model(faces)
    handle.remove()
    assert torch.equal(seen[0], faces.repeat(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("name", "hint"), [("resnet-50", "Did you mean resnet50?"), ("yolo", "Models: compact, ")]
)
def test_an_unknown_name_gets_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"no model '{name}'") as caught:
        build_model(name)
    assert hint in caught.value.hint


def test_both_kinds_of_weights_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        build_model("resnet50", pretrained=True, weights=tmp_path / "w.safetensors")


def test_building_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "fer_edge.models.compact")
    with pytest.raises(MissingDependencyError, match=r"needs torch.*fer-edge\[train\]"):
        build_model("compact")


def test_listing_models_needs_no_torch() -> None:
    code = "import sys, fer_edge.models as m; assert m.MODELS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_building_without_timm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.models", None)
    monkeypatch.delitem(sys.modules, "fer_edge.models.se_resnet", raising=False)
    with pytest.raises(MissingDependencyError, match=r"needs timm.*fer-edge\[train\]"):
        build_model("se-resnet50")
