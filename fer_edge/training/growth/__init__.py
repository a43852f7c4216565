"""Growing a large network out of a trained compact, so that training starts where compact ended."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torchvision.models.resnet import ResNet
from torchvision.models.vgg import VGG

from fer_edge.errors import ModelError
from fer_edge.models.compact import Compact
from fer_edge.models.gray import GrayInput
from fer_edge.training.growth.features import STEPS, Batches, fit
from fer_edge.training.growth.resnet import fits_resnet, grow_resnet
from fer_edge.training.growth.vgg import fits_vgg, grow_vgg


def grow(
    model: nn.Module,
    source: nn.Module,
    faces: Batches,
    *,
    steps: int = STEPS,
    autocast: torch.autocast,
    on_step: Callable[[int, int], None] | None = None,
) -> None:
    """Make ``model`` compute what ``source`` does, as nearly as it can, in place.

    Parameters
    ----------
    model : torch.nn.Module
        A ResNet-50 or VGG-19 of the registry, freshly initialised.
    source : torch.nn.Module
        A trained compact or nano.
    faces : callable() -> float32 tensor, shape (N, 1, 48, 48)
        What the networks will see in training; called at least ``steps`` times.
    steps : int
        Of fitting features where weights do not fit.
    autocast : torch.autocast
    on_step : callable(step, steps), optional

    Raises
    ------
    ModelError
        Two models that this is not made for, or faces of a size at which they differ.
    """
    source.eval()
    network = model.network if isinstance(model, GrayInput) else model
    fitted = partial(fit, faces=faces, steps=steps, autocast=autocast, on_step=on_step)
    if isinstance(source, Compact):
        if isinstance(network, ResNet) and fits_resnet(source, network):
            return grow_resnet(network, source, fitted, faces)
        if isinstance(network, VGG) and fits_vgg(source, network):
            return grow_vgg(network, source, fitted)
    raise ModelError(
        "Only a ResNet-50 or a VGG-19 can grow, and only from a compact or a nano.",
        hint="Train resnet50 or vgg19, and name best.safetensors or an artifact of a compact.",
    )
