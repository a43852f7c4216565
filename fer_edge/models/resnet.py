"""ResNet-50 (He et al. 2016, arXiv:1512.03385) from torchvision, on grayscale faces."""

from torch import nn
from torchvision.models import resnet

from fer_edge.contract import EMOTIONS
from fer_edge.models.gray import GrayInput
from fer_edge.models.head import fully_connected


def resnet50() -> nn.Module:
    """ResNet-50 without the max pool: a 48x48 face leaves 3x3 features rather than 2x2.

    All of torchvision's weights fit.
    """
    return _faces(3, 4, 6, 3)


def resnet14() -> nn.Module:
    """One bottleneck a stage: :func:`resnet50` can start from its weights and grow."""
    return _faces(1, 1, 1, 1)


def resnet50_linear() -> nn.Module:
    """ResNet-50 as it is for ImageNet."""
    return GrayInput(resnet.resnet50(num_classes=len(EMOTIONS)))


def resnet50_fc() -> nn.Module:
    """ResNet-50 as it is for ImageNet, with layers of 1024 and 4096 before the classifier."""
    model = resnet.resnet50(num_classes=len(EMOTIONS))
    model.fc = fully_connected(2048, 1024, 4096, dropout=0.5)
    return GrayInput(model)


def _faces(*blocks: int) -> nn.Module:
    model = resnet.ResNet(resnet.Bottleneck, list(blocks), num_classes=len(EMOTIONS))
    model.maxpool = nn.Identity()
    return GrayInput(model)
