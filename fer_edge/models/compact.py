"""The carried models: plain residual blocks that quantise and fuse well."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fer_edge.contract import EMOTIONS


class Stage(NamedTuple):
    """Blocks of one resolution."""

    width: int
    """A multiple of 32, the channel block of INT8 tensor-core kernels."""
    blocks: int = 1
    stride: int = 2
    """Of its first block."""


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
    """Stem, stages of :class:`Block` down to 3x3, average pool, linear layer.

    Parameters
    ----------
    stem : int, int, int
        Width, kernel and stride of the convolution that sees the face.
    stages : sequence of Stage
    dropout : float
        Before the linear layer.
    """

    def __init__(
        self, stem: tuple[int, int, int], stages: Sequence[Stage], dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(1, *stem), nn.ReLU())
        blocks: list[nn.Module] = []
        inputs = stem[0]
        for width, depth, stride in stages:
            for index in range(depth):
                blocks.append(Block(inputs, width, stride if index == 0 else 1))
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


def blocks_by_size(network: Compact) -> list[list[Block]]:
    """Its blocks, a list for each size of the features."""
    sizes: list[list[Block]] = [[]]
    for block in network.stages:
        assert isinstance(block, Block)
        convolution = block.residual[0]
        assert isinstance(convolution, nn.Conv2d)
        if convolution.stride == (2, 2) and sizes[-1]:
            sizes.append([])
        sizes[-1].append(block)
    return sizes


def compact() -> nn.Module:
    """1.9 M parameters, 80 M multiply-adds a face; its stem sees the face at full resolution."""
    return Compact((32, 3, 1), (Stage(32), Stage(96, blocks=2), Stage(192), Stage(256)))


def nano() -> nn.Module:
    """0.74 M parameters, 29 M multiply-adds a face.

    A stem of stride 1 would take a quarter of its time: one input channel fills no vector.
    """
    return Compact((32, 5, 2), (Stage(32, stride=1), Stage(64), Stage(96), Stage(192)))
