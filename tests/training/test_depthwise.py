import copy

import pytest
import torch
from torch import Tensor, nn

from fer_edge.models import build_model
from fer_edge.training import depthwise as module
from fer_edge.training.depthwise import speed_up_depthwise
from fer_edge.training.int8_weights import keep_rounded, round_weights

ROUNDING = 2**-8
"""Of bfloat16, relative: eight bits of a fraction."""


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that has bfloat16; the gradients are the same on all."""
    monkeypatch.setattr(module, "instruction_sets", lambda: ["avx512_bf16"])


def depthwise(kernel: int, stride: int, padding: int | None = None, **options: object) -> nn.Conv2d:
    padding = kernel // 2 if padding is None else padding
    settings = {"groups": 16, "bias": False} | options
    return nn.Conv2d(16, 16, kernel, stride, padding, **settings)  # type: ignore[arg-type]


def gradients(conv: nn.Module, faces: Tensor, *, exact: bool = False) -> list[Tensor]:
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


def is_fast(network: nn.Module, faces: Tensor) -> bool:
    with torch.autocast("cpu", torch.bfloat16):
        return "_Convolution" in type(network(faces).grad_fn).__name__


@pytest.mark.parametrize("size", [(12, 12), (7, 7), (9, 6), (3, 3), (1, 1)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (3, 3), (5, 1), (5, 2), (5, 3)])
def test_the_gradients_are_those_of_the_convolution(
    kernel: int, stride: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    conv = depthwise(kernel, stride)
    conv.weight.data = conv.weight.data.bfloat16().float()
    faces = torch.randn(4, 16, *size).bfloat16().float()
    faces = faces.contiguous(memory_format=torch.channels_last)
    wanted, torchs = gradients(conv, faces, exact=True), gradients(conv, faces)
    speed_up_depthwise(conv)
    assert is_fast(conv, faces)
    for one, torchs_own, exact in zip(gradients(conv, faces), torchs, wanted, strict=True):
        # Sums are in float32 and rounded once; without bf16 in oneDNN torch's own are further off.
        allowed = max(ROUNDING * exact.abs().max(), (torchs_own - exact).abs().max())
        assert (one - exact).abs().max() <= allowed


@pytest.mark.parametrize(
    "conv",
    [
        depthwise(7, 1),
        depthwise(3, 1),
        depthwise(3, 2, padding=0),
        depthwise(3, 2, dilation=2),
        depthwise(3, 2, padding_mode="reflect"),
        depthwise(3, 2, bias=True),
        depthwise(3, 2, groups=4),
        nn.Conv2d(16, 32, 3, 2, padding=1, groups=16, bias=False),
        depthwise(3, (2, 1)),  # type: ignore[arg-type]
        nn.Conv2d(1, 1, 3, 2, padding=1, bias=False),
    ],
    ids=str,
)
def test_other_convolutions_stay_those_of_torch(conv: nn.Conv2d) -> None:
    speed_up_depthwise(conv)
    assert type(conv) is nn.Conv2d


def test_a_processor_without_bfloat16_keeps_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "instruction_sets", lambda: ["avx2", "avx512f"])
    conv = depthwise(5, 2)
    speed_up_depthwise(conv)
    assert type(conv) is nn.Conv2d


def test_in_float32_nothing_changes() -> None:
    torch.manual_seed(0)
    conv, faces = depthwise(5, 2), torch.randn(2, 16, 9, 9)
    before = conv(faces)
    speed_up_depthwise(conv)
    assert torch.equal(conv(faces), before)
    assert "_Convolution" not in type(conv(faces).grad_fn).__name__


def test_a_compiled_network_learns_the_same() -> None:
    torch.manual_seed(0)
    conv = depthwise(5, 2)
    faces = torch.randn(4, 16, 8, 8)
    speed_up_depthwise(conv)
    eager = gradients(conv, faces)
    compiled = torch.compile(conv, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        output = compiled(faces)
    output.backward((torch.arange(output.numel()).reshape(output.shape) % 7 - 3).to(output.dtype))
    assert conv.weight.grad is not None
    assert torch.equal(conv.weight.grad.double(), eager[2])


def test_names_of_weights_stay() -> None:
    network = build_model("efficientnet-lite0")
    names = list(network.state_dict())
    speed_up_depthwise(network)
    # And once more, where weights are rounded for INT8 and made plain again.
    round_weights(network)
    network = copy.deepcopy(network)
    keep_rounded(network)
    assert list(network.state_dict()) == names
    assert sum(type(layer).__name__ == "_Depthwise" for layer in network.modules()) == 11
