"""Gradients of depthwise convolutions in bfloat16 on a CPU, which torch leaves to slow code.

oneDNN has fast kernels of it for a stride of 1, and for the gradients of 3 x 3 weights. The rest is
put in those terms: a stride is a gradient with zeros in between, and 5 x 5 weights are four
overlapping blocks of 3 x 3. bench/training_speed.py measures what that gives.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_edge.engines.processor import instruction_sets


def speed_up_depthwise(model: nn.Module) -> None:
    """Give the depthwise convolutions of ``model`` faster gradients in bfloat16, in place.

    Those of 5 x 5, and of 3 x 3 with a stride. What they compute stays the same, and so do the
    names of their weights; in another precision and on a GPU they are torch's. So they are on
    processors without bfloat16, where oneDNN has no such kernels.
    """
    if _NATIVE.isdisjoint(instruction_sets()):
        return
    for module in model.modules():
        if type(module) is nn.Conv2d and _eligible(module):
            module.__class__ = _Depthwise


_NATIVE = {"avx512_bf16", "amx_bf16"}
"""Sets of x86. Arm was not measured."""


def _eligible(conv: nn.Conv2d) -> bool:
    kernel = conv.kernel_size[0]
    return (
        1 < conv.groups == conv.in_channels == conv.out_channels
        and conv.bias is None
        and conv.kernel_size in ((3, 3), (5, 5))
        and (conv.kernel_size, conv.stride) != ((3, 3), (1, 1))
        and conv.padding == (kernel // 2, kernel // 2)
        and conv.padding_mode == "zeros"
        and conv.dilation == (1, 1)
        and conv.stride[0] == conv.stride[1]
    )


class _Depthwise(nn.Conv2d):
    def forward(self, faces: Tensor) -> Tensor:
        mixed = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if mixed else faces.dtype
        if faces.device.type != "cpu" or dtype is not torch.bfloat16:
            return super().forward(faces)
        output: Tensor = _Convolution.apply(faces.to(dtype), self.weight.to(dtype), self.stride[0])
        return output


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, faces: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(faces, weight)
        ctx.stride = stride
        padding = weight.shape[-1] // 2
        return F.conv2d(faces, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None]:
        faces, weight = ctx.saved_tensors
        (gradient,) = gradients
        if ctx.stride > 1:
            spread = torch.zeros_like(faces)
            spread[:, :, :: ctx.stride, :: ctx.stride] = gradient
            gradient = spread
        kernel = weight.shape[-1]
        wanted = (ctx.needs_input_grad[0], kernel == 3)
        of_faces, of_weight = _gradients(gradient, faces, weight, kernel // 2, wanted)
        if of_weight is None:
            of_weight = _by_blocks(gradient, faces, weight)
        return of_faces, of_weight, None


def _by_blocks(gradient: Tensor, faces: Tensor, weight: Tensor) -> Tensor:
    padded = F.pad(faces, (2, 2, 2, 2))
    height, width = faces.shape[2:]
    block = weight[:, :, :3, :3].contiguous()
    total = torch.empty_like(weight)
    for top in (0, 2):
        for left in (0, 2):
            seen = padded[:, :, top : top + height + 2, left : left + width + 2]
            seen = seen.contiguous(memory_format=torch.channels_last)
            _, found = _gradients(gradient, seen, block, 0, (False, True))
            assert found is not None
            total[:, :, top : top + 3, left : left + 3] = found
    return total


def _gradients(
    gradient: Tensor, faces: Tensor, weight: Tensor, padding: int, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Of ``faces`` and ``weight``, None where not wanted, of a convolution of stride 1."""
    of_faces, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        faces,
        weight,
        None,
        [1, 1],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [*wanted, False],
    )
    return of_faces, of_weight
