"""Growing a VGG-19 out of a trained compact.

It has neither residual adds nor strides, so no weights of compact fit. The convolutions between two
of its max pools are fitted to the stage of compact that works at the same size, all together; then
its fully connected layers pass on what compact's classifier reads.
"""

import torch
from torch import nn
from torchvision.models.vgg import VGG

from fer_edge.models.compact import Compact, blocks_by_size
from fer_edge.training.growth.features import Fit


def fits_vgg(source: Compact, network: VGG) -> bool:
    """Whether there is a part of ``network`` for each size that ``source`` works at."""
    wanted = [_width(stage) for stage in _stages(source)[:-1]]
    wanted.append(source.classifier.in_features)
    widths = [_width(part) for part in _parts(network)]
    return (
        len(widths) == len(wanted)
        and all(width >= least for width, least in zip(widths, wanted, strict=True))
        and all(layer.out_features >= wanted[-1] for layer in _hidden(network))
    )


def grow_vgg(network: VGG, source: Compact, fit: Fit) -> None:
    """Fit the features of ``network``, and write ``source``'s classifier into its head."""
    fit(_parts(network), _stages(source))
    read = source.classifier
    with torch.no_grad():
        for layer in _hidden(network):
            # What is not negative passes a ReLU as it is.
            layer.weight[: read.in_features] = torch.eye(read.in_features, layer.in_features)
            layer.bias[: read.in_features] = 0
        last = network.classifier[-1]
        nn.init.zeros_(last.weight)
        last.weight[:, : read.in_features] = read.weight
        last.bias.copy_(read.bias)


def _parts(network: VGG) -> list[nn.Module]:
    """Its convolutions by size, those before the first max pool with the next.

    The last one is apart, with the pools behind it: it makes the average, which a max pool cannot.
    """
    parts: list[list[nn.Module]] = [[]]
    for module in network.features.children():
        if isinstance(module, nn.MaxPool2d):
            parts.append([])
        parts[-1].append(module)
    last = parts[-2]
    average = last[-3:] + parts[-1] + [network.avgpool]
    sizes = [parts[0] + parts[1], *parts[2:-2], last[:-3], average]
    return [nn.Sequential(*modules) for modules in sizes]


def _stages(source: Compact) -> list[nn.Module]:
    """Its blocks by size, the first with the stem, and the average."""
    first, *others = (nn.Sequential(*blocks) for blocks in blocks_by_size(source))
    return [nn.Sequential(source.stem, first), *others, source.pool]


def _width(part: nn.Module) -> int:
    """Channels that it gives."""
    return [m.out_channels for m in part.modules() if isinstance(m, nn.Conv2d)][-1]


def _hidden(network: VGG) -> list[nn.Linear]:
    """All fully connected layers but the last."""
    return [module for module in network.classifier if isinstance(module, nn.Linear)][:-1]
