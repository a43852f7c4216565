"""EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946) from timm, on grayscale faces."""

from timm.models import efficientnet
from torch import nn

from fer_edge.contract import EMOTIONS
from fer_edge.models.gray import GrayInput


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-B0 with ReLU6 and no squeeze-and-excitation, so that INT8 loses little.

    The first stride is 1: a 48x48 face leaves 3x3 features rather than 2x2.
    """
    model = efficientnet.efficientnet_lite0()
    model.conv_stem.stride = (1, 1)
    model.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, len(EMOTIONS)))
    return GrayInput(model)
