"""A network of one's own: registered with fer-edge for training, and exported from Python.

    python examples/own_network.py build/mine

The package that it is part of registers it in its pyproject.toml:

    [project.entry-points."fer_edge.models"]
    tiny-mobile = "own_network:tiny_mobile"

after which fer-edge trains it, at its own size and in its own colour or in others:

    fer-edge train --model tiny-mobile --data fer2013.zip
    fer-edge train --model tiny-mobile --size 96 --color rgb --data photos.zip
"""

import sys
from itertools import pairwise

import torch
from torch import Tensor, nn

from fer_edge import Recognizer
from fer_edge.contract import Color, Contract
from fer_edge.export import export_module


class TinyMobile(nn.Module):
    """Depthwise and pointwise convolutions, mean, linear layer."""

    def __init__(self, channels: int = 1, classes: int = 7) -> None:
        super().__init__()
        widths = [16, 32, 64]
        layers: list[nn.Module] = [self.block(channels, widths[0], groups=1)]
        for inputs, outputs in pairwise(widths):
            layers.append(self.block(inputs, inputs, groups=inputs))
            layers.append(nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.Hardswish()))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(widths[-1], classes)

    @staticmethod
    def block(inputs: int, outputs: int, groups: int) -> nn.Sequential:
        convolution = nn.Conv2d(inputs, outputs, 3, 2, 1, groups=groups, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.Hardswish())

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of faces, float32 (N, channels, size, size)."""
        return self.classifier(self.features(x).mean((2, 3)))


def tiny_mobile(size: int = 64, color: Color = "gray") -> nn.Module:
    """What the entry point names.

    It gets what ``--size`` and ``--color`` say in parameters of these names, and has in their
    defaults what the network takes where they say nothing: gray faces of 64x64. A third,
    ``labels``, has in its default what the outputs mean; without it, FER2013's emotions. Each may
    be left out: this network pools, and would do without ``size`` if 48x48 were to be its own.
    """
    return TinyMobile(channels=Contract(size, color).channels)


def main(folder: str) -> None:
    """Export a network for colour faces of 96x96 and eight labels, and run it."""
    torch.manual_seed(0)
    network = TinyMobile(channels=3, classes=8)  # yours comes with trained weights
    artifact = export_module(
        network,
        folder,
        size=96,
        color="rgb",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        labels=[
            "neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt",
        ],
        fp16=True,
        # int8=True, data="fer2013.zip" adds INT8, calibrated and scored.
    )  # fmt: skip
    crop = torch.randint(0, 256, (120, 110, 3), dtype=torch.uint8).numpy()
    with Recognizer(artifact.folder) as recognizer:
        prediction = recognizer([crop])
    print(f"{artifact.folder}: {prediction.emotions[0]}")


if __name__ == "__main__":
    main(sys.argv[1])
