import copy

import pytest
import torch
from torch import nn

from fer_edge.errors import UsageError
from fer_edge.models import MODELS, build_model

RESIDUAL = [name for name, spec in MODELS.items() if spec.residual_branch]


def test_dropout_sets_every_layer() -> None:
    with torch.device("meta"):
        model = build_model("vgg19", dropout=0.7)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.7, 0.7]


def test_a_model_without_dropout_is_named() -> None:
    with pytest.raises(UsageError, match="resnet14 has no dropout"):
        build_model("resnet14", dropout=0.5)


def test_a_model_without_residual_branches_is_named() -> None:
    with (
        torch.device("meta"),
        pytest.raises(UsageError, match="vgg19 has no residual branches") as caught,
    ):
        build_model("vgg19", drop_path=0.1)
    assert "resnet50" in caught.value.hint


@pytest.mark.parametrize("rates", [{"dropout": 1.0}, {"dropout": -0.1}, {"drop_path": 1.0}])
def test_a_rate_is_a_probability_below_one(rates: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be at least 0 and less than 1"):
        build_model("compact", **rates)


@pytest.mark.parametrize("name", RESIDUAL)
def test_drop_path_rises_from_the_first_branch_to_the_last(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, drop_path=0.8)
    rates = [hook.args[0] for module in model.modules() for hook in module._forward_hooks.values()]
    blocks = {
        "compact": 5,
        "nano": 4,
        "resnet50": 16,
        "resnet14": 4,
        "resnet50-linear": 16,
        "resnet50-fc": 16,
        "se-resnet50": 16,
        # Of 16 blocks, the first of each of seven stages has no skip.
        "efficientnet-lite0": 9,
    }
    assert rates == pytest.approx(torch.linspace(0, 0.8, blocks[name]).tolist())


def test_drop_path_changes_neither_tensors_nor_evaluation() -> None:
    plain = build_model("compact").eval()
    dropped = build_model("compact", drop_path=0.9).eval()
    assert list(dropped.state_dict()) == list(plain.state_dict())
    dropped.load_state_dict(plain.state_dict())
    faces = torch.randn(2, 1, 48, 48)
    with torch.no_grad():
        assert torch.equal(dropped(faces), plain(faces))


def test_drop_path_zeroes_branches_of_single_faces_in_training() -> None:
    torch.manual_seed(0)
    # The averaged model of a training is a copy.
    model = copy.deepcopy(build_model("compact", drop_path=0.5)).train()
    seen: list[torch.Tensor] = []
    last = model.get_submodule("stages.4")
    last.residual.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        model(torch.randn(64, 1, 48, 48))
    skipped = (seen[0].flatten(1) == 0).all(1)
    assert 16 < int(skipped.sum()) < 48
