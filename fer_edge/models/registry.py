"""The registry: every model that can be trained, by name."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fer_edge.errors import MissingDependencyError, ModelError, UsageError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSpec:
    """A model of the registry."""

    name: str
    summary: str
    builder: str
    """``module:function``; called without arguments, it returns the module. A module whose name
    begins with a dot is one of fer_edge.models."""
    first_convolution: str | None = None
    """Path of the convolution that sees the image, with 1 or 3 input channels; None for networks of
    other packages, whose graphs come in as anybody's do."""
    imagenet_weights: str | None = None
    """Name in torchvision's weight registry; None where there are none."""
    residual_branch: str | None = None
    """Pattern of the paths of the modules that end a residual branch, in order of depth."""


_BOTTLENECK = r"network\.layer\d\.\d+\.bn3"

MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "compact",
            "residual network of 1.9 M parameters made for INT8 (the carried model)",
            ".compact:compact",
            "stem.0",
            residual_branch=r"stages\.\d+\.residual",
        ),
        ModelSpec(
            "resnet50",
            "ResNet-50 with a stem for small faces (no max pool)",
            ".resnet:resnet50",
            "network.conv1",
            "ResNet50_Weights.IMAGENET1K_V2",
            _BOTTLENECK,
        ),
        ModelSpec(
            "resnet14",
            "one block a stage: resnet50 can start from its weights",
            ".resnet:resnet14",
            "network.conv1",
            residual_branch=_BOTTLENECK,
        ),
        ModelSpec(
            "resnet50-linear",
            "torchvision ResNet-50 with a 7-way linear layer",
            ".resnet:resnet50_linear",
            "network.conv1",
            "ResNet50_Weights.IMAGENET1K_V2",
            _BOTTLENECK,
        ),
        ModelSpec(
            "resnet50-fc",
            "ResNet-50 with two more fully connected layers (1024, 4096) and dropout 0.5",
            ".resnet:resnet50_fc",
            "network.conv1",
            "ResNet50_Weights.IMAGENET1K_V2",
            _BOTTLENECK,
        ),
        ModelSpec(
            "vgg19",
            "torchvision VGG-19 with batch norm, dropout and a fully connected head",
            ".vgg:vgg19",
            "network.features.0",
            "VGG19_BN_Weights.IMAGENET1K_V1",
        ),
        ModelSpec(
            "inception",
            "torchvision GoogLeNet with a stem for small faces (no first max pool)",
            ".inception:inception",
            "network.conv1.conv",
            "GoogLeNet_Weights.IMAGENET1K_V1",
        ),
        ModelSpec(
            "se-resnet50",
            "resnet50 with squeeze-and-excitation (timm)",
            ".se_resnet:se_resnet50",
            "network.conv1",
            residual_branch=r"network\.layer\d\.\d+\.se",
        ),
        ModelSpec(
            "efficientnet-lite0",
            "EfficientNet-Lite0 (timm) with a first stride of 1, for small faces",
            ".efficientnet:efficientnet_lite0",
            "network.conv_stem",
            # The first block of a stage changes the width and has no skip.
            residual_branch=r"network\.blocks\.\d\.[1-9]\.bn3",
        ),
    )
}


GROUP = "fer_edge.models"
"""Entry points of this group are networks of other packages: name to ``module:function``."""


def own_models() -> dict[str, ModelSpec]:
    """Networks that installed packages register under :data:`GROUP`, by name."""
    return {
        point.name: ModelSpec(point.name, f"of the package that has {point.value}", point.value)
        for point in entry_points(group=GROUP)
        if point.name not in MODELS
    }


def model_spec(name: str) -> ModelSpec:
    """Look a model up by name; UsageError lists the names there are."""
    if name in MODELS:
        return MODELS[name]
    others = own_models()
    if name in others:
        return others[name]
    names = [*MODELS, *others]
    close = get_close_matches(name, names, 1)
    raise UsageError(
        f"There is no model {name!r}.",
        hint=f"Did you mean {close[0]}?" if close else f"Models: {', '.join(names)}.",
    )


def build_model(
    name: str,
    *,
    pretrained: bool = False,
    weights: Path | None = None,
    dropout: float | None = None,
    drop_path: float = 0.0,
) -> "nn.Module":
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
        this model or of a shallower one, or from torchvision's or timm's file of ImageNet weights.
    dropout : float, optional
        Rate of every dropout layer, 0 to 1. Default: the model's own rates.
    drop_path : float
        Stochastic depth (Huang et al. 2016, arXiv:1603.09382): probability, 0 to 1, that a face
        skips the last residual branch in training. It grows linearly from 0 for the first.

    Raises
    ------
    UsageError
        Unknown name, both kinds of weights, a rate outside 0 to 1, or one that the model has no
        layers for.
    MissingDependencyError
        torch, or timm where it serves the model, is not installed.
    ModelError
        The weights cannot be had or do not fit.
    """
    spec = model_spec(name)
    if pretrained and weights is not None:
        raise UsageError("--pretrained and --weights exclude each other.", hint="Choose one.")
    module, function = spec.builder.split(":")
    try:
        home = "fer_edge.models" if module.startswith(".") else None
        builder = getattr(importlib.import_module(module, home), function)
        from fer_edge.models.regularisation import set_drop_path, set_dropout
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Building {name} needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[train]'",
        ) from error
    except AttributeError as error:
        raise ModelError(
            f"{name} is registered as {spec.builder}, and {module} has no {function}.",
            hint=f"Correct the entry point of the group {GROUP} in its pyproject.toml.",
        ) from error
    model = cast("Callable[[], nn.Module]", builder)()
    if dropout is not None:
        set_dropout(model, name, dropout)
    if drop_path:
        set_drop_path(model, spec, drop_path)
    if pretrained or weights is not None:
        from fer_edge.models.weights import load_imagenet, load_weights

        if weights is not None:
            load_weights(model, weights, backbone=True)
        else:
            load_imagenet(model, spec)
    return model
