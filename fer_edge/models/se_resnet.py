"""SE-ResNet-50 (Hu et al. 2018, arXiv:1709.01507) from timm, on grayscale faces."""

from timm.models import resnet
from torch import nn

from fer_edge.contract import EMOTIONS
from fer_edge.models.gray import GrayInput


def se_resnet50() -> nn.Module:
    """SE-ResNet-50 without the max pool: a 48x48 face leaves 3x3 features rather than 2x2."""
    model = resnet.seresnet50(num_classes=len(EMOTIONS))
    model.maxpool = nn.Identity()
    return GrayInput(model)
