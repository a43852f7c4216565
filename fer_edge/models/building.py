"""A model, built: by name, for a contract, with weights to start from."""

from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge.contract import Contract
from fer_edge.errors import UsageError
from fer_edge.models.registry import builder_of, contract_parameters, model_contract, model_spec

if TYPE_CHECKING:
    from torch import nn


def build_model(
    name: str,
    contract: Contract | None = None,
    *,
    pretrained: bool = False,
    weights: Path | None = None,
    new_head: bool = False,
    dropout: float | None = None,
    drop_path: float = 0.0,
) -> "nn.Module":
    """Build a model: input float32 (N, channels, size, size) normalised pixels, output logits
    (N, labels).

    Parameters
    ----------
    name : str
        A key of :data:`~fer_edge.models.registry.MODELS`, or of a network that another package
        registers.
    contract : Contract, optional
        What it is to take and give. Default: its own, as
        :func:`~fer_edge.models.registry.model_contract` has it. Whether it can,
        :func:`fer_edge.models.trial.check_model` tells.
    pretrained : bool
        Start from ImageNet weights: those of a package that the extra ``pretrained`` installs, or
        torchvision's, downloaded once. Layers of another shape (the classifier) stay as
        initialised.
    weights : Path, optional
        Start from a safetensors file or a torch state dict (read with ``weights_only=True``) of
        this model or of a shallower one, or from torchvision's or timm's file of ImageNet weights.
    new_head : bool
        Of ``weights``, leave out the head (:func:`~fer_edge.models.head.head_tensors`): it stays as
        initialised, and may be another than that of the file.
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
    builder = builder_of(name)
    from fer_edge.models.regularisation import set_drop_path, set_dropout

    contract = contract or model_contract(name)
    model = builder(**{field: getattr(contract, field) for field in contract_parameters(builder)})
    if dropout is not None:
        set_dropout(model, name, dropout)
    if drop_path:
        set_drop_path(model, spec, drop_path)
    if pretrained or weights is not None:
        from fer_edge.models.weights import load_imagenet, load_weights

        if weights is not None:
            load_weights(model, weights, backbone=True, new_head=new_head)
        else:
            load_imagenet(model, spec)
    return model
