"""Quantisation-aware training of the weights: the network learns with what INT8 makes of them.

References
----------
Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", arXiv:1712.05877, section 3; the gradient passes the rounding
unchanged (Bengio et al. 2013, arXiv:1308.3432).
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fer_edge.contract import FER2013, Contract
from fer_edge.models.head import classifier

LARGEST = 127


class Int8Weights(nn.Module):
    """Rounds a weight to symmetric INT8 steps, one scale per output channel (axis 0).

    Parameters
    ----------
    summed : bool
        The weights on the input channels (axis 1) all see the same: it is their sum that lies on
        the steps.
    """

    def __init__(self, *, summed: bool = False) -> None:
        super().__init__()
        self.summed = summed

    def forward(self, weight: Tensor) -> Tensor:
        seen = weight.detach()
        if self.summed:
            seen = seen.sum(1, keepdim=True)
        largest = seen.abs().amax(tuple(range(1, seen.ndim)), keepdim=True)
        step = (largest / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
        error = (seen / step).round() * step - seen
        return weight + error / (weight.shape[1] if self.summed else 1)


def round_weights(model: nn.Module, contract: Contract = FER2013) -> None:
    """Let ``model`` compute with rounded weights, in place, wherever the export quantises them.

    The classifier stays as it is. Of a first convolution that sees a gray face in three channels,
    the sum over these is rounded: the export adds them up. Batch norms scale whole output channels,
    which moves no weight between steps.
    """
    last = classifier(model, len(contract.labels))
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear) and module is not last:
            gray = isinstance(module, nn.Conv2d) and module.in_channels == 3 > contract.channels
            parametrize.register_parametrization(module, "weight", Int8Weights(summed=gray))


def keep_rounded(model: nn.Module) -> None:
    """Make plain weights of the rounded ones, in place.

    ``remove_parametrizations`` would change the class that copies share with their model.
    """
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            weight = module.weight
            assert isinstance(weight, Tensor)
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
            module.weight = nn.Parameter(weight.detach())
