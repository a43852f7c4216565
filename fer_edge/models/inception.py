"""Inception (Szegedy et al. 2015, arXiv:1409.4842) from torchvision, on grayscale faces."""

from torch import nn
from torchvision.models import GoogLeNet

from fer_edge.contract import EMOTIONS
from fer_edge.models.gray import GrayInput


def inception() -> nn.Module:
    """GoogLeNet with batch norm, without auxiliary classifiers and without the first max pool.

    A 48x48 face leaves 3x3 features rather than 2x2. All of torchvision's weights fit.
    """
    model = GoogLeNet(len(EMOTIONS), aux_logits=False, init_weights=True)
    model.maxpool1 = nn.Identity()
    return GrayInput(model)
