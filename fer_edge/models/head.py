"""Fully connected classifier heads."""

from itertools import pairwise

from torch import nn

from fer_edge.contract import EMOTIONS


def fully_connected(*widths: int, dropout: float) -> nn.Sequential:
    """Linear layers through ``widths``, each with ReLU and dropout, then the seven logits."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], len(EMOTIONS)))
