import copy

import pytest
import torch
from torch import Tensor, nn

from fer_edge.models import build_model
from fer_edge.training.depthwise import speed_up_depthwise

ROUNDING = 2**-8
"""Of bfloat16, relative: eight bits of a fraction."""


def depthwise(kernel: int, stride: int, padding: int | None = None, **options: object) -> nn.Conv2d:
    padding = kernel // 2 if padding is None else padding
    settings = {"groups": 16, "bias": False} | options
    return nn.Conv2d(16, 16, kernel, stride, padding, **settings)  # type: ignore[arg-type]


def gradients(conv: nn.Module, faces: Tensor, *, exact: bool) -> list[Tensor]:
    """Of the output, the faces and the weight; in float64 or as a bf16 training has them."""
    conv = copy.deepcopy(conv)
    if exact:
        conv, faces = conv.double(), faces.double()
    faces = faces.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=not exact):
        output = conv(faces)
    # Of all signs and sizes, and none that bf16 would round.
    wanted = torch.arange(output.numel()).reshape(output.shape) % 7 - 3
    output.backward(wanted.to(output.dtype))
    assert faces.grad is not None
    weight = next(conv.parameters()).grad
    assert weight is not None
    return [output.detach().double(), faces.grad.double(), weight.double()]


@pytest.mark.parametrize("size", [(12, 12), (7, 7), (9, 6), (3, 3), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 5])
def test_the_gradients_are_those_of_the_convolution(
    kernel: int, stride: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    conv = depthwise(kernel, stride)
    conv.weight.data = conv.weight.data.bfloat16().float()
    faces = torch.randn(4, 16, *size).bfloat16().float()
    faces = faces.contiguous(memory_format=torch.channels_last)
    wanted = gradients(conv, faces, exact=True)
    speed_up_depthwise(conv)
    for one, other in zip(gradients(conv, faces, exact=False), wanted, strict=True):
        # The result is rounded once, from sums in float32; a block of four may be summed in bf16.
        assert (one - other).abs().max() <= 2 * ROUNDING * other.abs().max()


@pytest.mark.parametrize(
    "conv",
    [
        depthwise(7, 1),
        depthwise(3, 1, padding=0),
        depthwise(3, 1, dilation=2),
        depthwise(3, 1, padding_mode="reflect"),
        depthwise(3, 1, bias=True),
        depthwise(3, 1, groups=4),
        nn.Conv2d(16, 32, 3, padding=1, groups=16, bias=False),
        depthwise(3, (2, 1)),  # type: ignore[arg-type]
        nn.Conv2d(1, 1, 3, padding=1, bias=False),
    ],
    ids=str,
)
def test_other_convolutions_stay_those_of_torch(conv: nn.Conv2d) -> None:
    speed_up_depthwise(conv)
    assert type(conv) is nn.Conv2d


def test_in_float32_nothing_changes() -> None:
    torch.manual_seed(0)
    conv, faces = depthwise(5, 2), torch.randn(2, 16, 9, 9)
    before = conv(faces)
    speed_up_depthwise(conv)
    assert torch.equal(conv(faces), before)


def test_names_of_weights_stay() -> None:
    network = build_model("efficientnet-lite0")
    names = list(network.state_dict())
    speed_up_depthwise(network)
    assert list(network.state_dict()) == names
    assert sum(type(module).__name__ == "_Depthwise" for module in network.modules()) == 16
