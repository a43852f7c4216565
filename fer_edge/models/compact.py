"""The carried model: plain residual blocks that quantise and fuse well."""

import torch
from torch import Tensor, nn

from fer_edge.contract import EMOTIONS

STEM = 32
STAGES = ((32, 1), (96, 2), (192, 1), (256, 1))
"""(width, blocks) per stage; each stage halves the resolution, from 24x24 to 3x3.

Widths are multiples of 32, the channel block of INT8 tensor-core kernels.
"""


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class Block(nn.Module):
    """Two 3x3 convolutions and a skip, as in He et al. (2016), arXiv:1512.03385, Fig. 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *conv_bn(inputs, outputs, 3, stride), nn.ReLU(), *conv_bn(outputs, outputs, 3)
        )
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.residual(x) + self.skip(x))
        return out


class Compact(nn.Module):
    """Stem at full resolution, four stages of :class:`Block`, average pool, linear layer."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(1, STEM, 3), nn.ReLU())
        blocks: list[nn.Module] = []
        inputs = STEM
        for width, depth in STAGES:
            for index in range(depth):
                blocks.append(Block(inputs, width, 2 if index == 0 else 1))
                inputs = width
        self.stages = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(inputs, len(EMOTIONS))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))
        logits: Tensor = self.classifier(self.dropout(torch.flatten(self.pool(x), 1)))
        return logits


def compact() -> nn.Module:
    return Compact()
