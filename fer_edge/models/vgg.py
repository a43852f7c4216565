"""VGG-19 (Simonyan and Zisserman 2015, arXiv:1409.1556) from torchvision, on grayscale faces."""

from torch import nn
from torchvision.models import vgg

from fer_edge.contract import EMOTIONS
from fer_edge.models.gray import GrayInput
from fer_edge.models.head import fully_connected


def vgg19() -> nn.Module:
    """VGG-19 with batch norm; a 48x48 face leaves 1x1 features, so the head starts at 512."""
    model = vgg.vgg19_bn(num_classes=len(EMOTIONS))
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier = fully_connected(512, 1024, 1024, dropout=0.5)
    return GrayInput(model)
