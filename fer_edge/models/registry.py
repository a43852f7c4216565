"""The registry: every model that can be trained, by name."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fer_edge.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSpec:
    """A model of the registry."""

    name: str
    summary: str
    builder: str
    """``module:function`` in fer_edge.models; called without arguments, it returns the module."""
    first_convolution: str
    """Path of the convolution that sees the image, with 1 or 3 input channels."""
    imagenet_weights: str | None = None
    """Name in torchvision's weight registry; None where there are none."""


MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "compact",
            "residual network of 1.9 M parameters made for INT8 (the carried model)",
            "compact:compact",
            "stem.0",
        ),
        ModelSpec(
            "resnet50",
            "torchvision ResNet-50 with a 7-way linear layer",
            "resnet:resnet50",
            "network.conv1",
            "ResNet50_Weights.IMAGENET1K_V2",
        ),
        ModelSpec(
            "resnet50-fc",
            "ResNet-50 with two more fully connected layers (1024, 4096) and dropout 0.5",
            "resnet:resnet50_fc",
            "network.conv1",
            "ResNet50_Weights.IMAGENET1K_V2",
        ),
        ModelSpec(
            "vgg19",
            "torchvision VGG-19 with batch norm, dropout and a fully connected head",
            "vgg:vgg19",
            "network.features.0",
            "VGG19_BN_Weights.IMAGENET1K_V1",
        ),
    )
}


def model_spec(name: str) -> ModelSpec:
    """Look a model up by name; UsageError lists the names there are."""
    if name in MODELS:
        return MODELS[name]
    close = get_close_matches(name, MODELS, 1)
    raise UsageError(
        f"There is no model {name!r}.",
        hint=f"Did you mean {close[0]}?" if close else f"Models: {', '.join(MODELS)}.",
    )


def build_model(name: str, *, pretrained: bool = False, weights: Path | None = None) -> "nn.Module":
    """Build a model: input float32 (N, 1, 48, 48) normalised pixels, output (N, 7) logits.

    Parameters
    ----------
    name : str
        A key of :data:`MODELS`.
    pretrained : bool
        Start from torchvision's ImageNet weights, downloaded once. Layers of another shape (the
        classifier) stay as initialised.
    weights : Path, optional
        Start from a safetensors file or a torch state dict (read with ``weights_only=True``) of
        this model, or from torchvision's file of ImageNet weights.

    Raises
    ------
    UsageError
        Unknown name, or both kinds of weights.
    MissingDependencyError
        torch is not installed.
    ModelError
        The weights cannot be had or do not fit.
    """
    spec = model_spec(name)
    if pretrained and weights is not None:
        raise UsageError("--pretrained and --weights exclude each other.", hint="Choose one.")
    module, function = spec.builder.split(":")
    try:
        builder = getattr(importlib.import_module(f"fer_edge.models.{module}"), function)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Building {name} needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[train]'",
        ) from error
    model = cast("Callable[[], nn.Module]", builder)()
    if pretrained or weights is not None:
        from fer_edge.models.weights import load_imagenet, load_weights

        if weights is not None:
            load_weights(model, weights, backbone=True)
        else:
            load_imagenet(model, spec)
    return model
