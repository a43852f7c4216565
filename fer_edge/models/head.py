"""Fully connected classifier heads."""

from itertools import pairwise

from torch import nn

from fer_edge.contract import EMOTIONS
from fer_edge.errors import ModelError


def fully_connected(*widths: int, dropout: float) -> nn.Sequential:
    """Linear layers through ``widths``, each with ReLU and dropout, then the seven logits."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], len(EMOTIONS)))


def classifier(model: nn.Module, classes: int = len(EMOTIONS)) -> nn.Linear:
    """The layer that makes the logits.

    Raises
    ------
    ModelError
        There is no linear layer with ``classes`` outputs, or more than one.
    """
    found = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if len(found) != 1:
        raise ModelError(
            f"Temperature and logit adjustment go into the one linear layer with {classes} "
            f"outputs, and this model has {len(found)}.",
            hint="End the network in one nn.Linear.",
        )
    return found[0]


def head_tensors(model: nn.Module) -> list[str]:
    """Names of the tensors of a network's head: its last linear layer, with the sequence around it.

    None where there is no linear layer.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        return []
    around = linear[-1].rpartition(".")[0]
    sequence = model.get_submodule(around)
    features = (nn.Conv2d, nn.MultiheadAttention)
    whole = (
        around
        and isinstance(sequence, nn.Sequential)
        and not any(isinstance(module, features) for module in sequence.modules())
    )
    head = around if whole else linear[-1]
    return [f"{head}.{name}" for name in model.get_submodule(head).state_dict()]
