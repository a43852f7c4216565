"""ResNet-50 (He et al. 2016, arXiv:1512.03385) from torchvision, on grayscale faces."""

from torch import nn
from torchvision.models import resnet

from fer_edge.contract import EMOTIONS
from fer_edge.models.gray import GrayInput
from fer_edge.models.head import fully_connected


def resnet50() -> nn.Module:
    return GrayInput(resnet.resnet50(num_classes=len(EMOTIONS)))


def resnet50_fc() -> nn.Module:
    """ResNet-50 with fully connected layers of 1024 and 4096 before the classifier."""
    model = resnet.resnet50(num_classes=len(EMOTIONS))
    model.fc = fully_connected(2048, 1024, 4096, dropout=0.5)
    return GrayInput(model)
