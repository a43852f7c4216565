from collections.abc import Callable

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fer_edge.contract import Contract
from fer_edge.data import synthetic_dataset
from fer_edge.models import build_model
from fer_edge.training.checkpoint import BEST, LAST
from fer_edge.training.int8_weights import keep_rounded, round_weights
from fer_edge.training.trainer import Trainer


def rounded(weight: Tensor) -> Tensor:
    step = weight.abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.ndim - 1)) / 127
    return (weight / step).round() * step


def is_rounded(weight: Tensor) -> bool:
    return torch.allclose(weight, rounded(weight), rtol=1e-5, atol=0)


def test_the_network_computes_with_rounded_weights_and_keeps_them() -> None:
    model = build_model("compact").eval()
    plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    faces = torch.randn(4, 1, 48, 48)
    before = model(faces)
    round_weights(model)
    seen = model(faces)
    assert not torch.equal(seen, before)
    keep_rounded(model)
    torch.testing.assert_close(model(faces), seen)
    assert model.state_dict().keys() == plain.keys()
    for name, weight in model.state_dict().items():
        if weight.ndim == 4:
            assert is_rounded(weight), name
            torch.testing.assert_close(weight, rounded(plain[name]))
        else:
            assert torch.equal(weight, plain[name]), name


def test_three_channels_of_a_gray_face_have_a_rounded_sum_and_the_classifier_stays() -> None:
    model = build_model("resnet14")
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    first, *others = convolutions
    assert first.in_channels == 3
    before = [m.weight.detach().clone() for m in convolutions]
    head = model.network.fc.weight.detach().clone()
    round_weights(model)
    keep_rounded(model)
    wanted = rounded(before[0].sum(1, keepdim=True))
    torch.testing.assert_close(first.weight.sum(1, keepdim=True), wanted, rtol=1e-5, atol=1e-7)
    assert not is_rounded(first.weight)
    assert all(is_rounded(m.weight) for m in others)
    assert torch.equal(model.network.fc.weight, head)


def test_three_channels_of_colour_are_rounded() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 7))
    before = model[0].weight.detach().clone()
    round_weights(model, Contract(48, "rgb"))
    keep_rounded(model)
    assert not torch.equal(model[0].weight, before)


def test_the_gradient_passes_the_rounding() -> None:
    layer = nn.Sequential(nn.Linear(5, 3, bias=False), nn.Linear(3, 7))
    round_weights(layer)
    inputs = torch.randn(8, 5)
    hidden = layer[0](inputs)
    hidden.sum().backward()
    gradient = layer[0].parametrizations.weight.original.grad
    torch.testing.assert_close(gradient, inputs.sum(0).expand(3, 5))


def test_a_channel_of_zeros_stays_finite() -> None:
    layer = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 7))
    nn.init.zeros_(layer[0].weight)
    round_weights(layer)
    assert torch.equal(layer[0].weight, torch.zeros(2, 1, 3, 3))


def test_a_run_publishes_rounded_weights_and_resumes(trainer: Callable[..., Trainer]) -> None:
    data = synthetic_dataset(70), synthetic_dataset(35, split="val")
    made = trainer(*data, epochs=2, int8_weights=True)
    made.fit()
    weights = load_file(made.run / BEST)
    assert not any("parametrizations" in name for name in weights)
    assert all(is_rounded(weight) for weight in weights.values() if weight.ndim == 4)
    whole = load_file(made.run / LAST)
    resumed = Trainer(made.config, *data, made.run, resume=True)
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, whole[f"model.{name}"]), name
