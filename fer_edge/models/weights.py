"""Weights from files and from torchvision. Pickles are never trusted."""

import json
import re
from pathlib import Path
from pickle import UnpicklingError

import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from fer_edge.errors import ModelError
from fer_edge.models.exported import load_exported
from fer_edge.models.gray import GrayInput
from fer_edge.models.registry import ModelSpec, build_model

State = dict[str, Tensor]


def load_weights(model: nn.Module, path: Path, *, backbone: bool = False) -> None:
    """Load a whole model from ``.safetensors`` or a torch state dict (``weights_only=True``).

    Parameters
    ----------
    model : torch.nn.Module
    path : Path
    backbone : bool
        Take torchvision's own file for the network inside ``model``, too; its classifier stays
        as initialised.

    Raises
    ------
    ModelError
        Not there, not a state dict, or made for another model.
    """
    if not path.is_file():
        raise ModelError(f"There is no weights file {path}.")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModelError(
            f"{path} holds something else than tensors and was not loaded.",
            hint="Save it again as safetensors, or as a state dict.",
        ) from error
    except Exception as error:  # what torch.load makes of a foreign file has no common base
        raise ModelError(
            f"{path} cannot be read as weights: {_line(error)}.",
            hint="Give a safetensors file or a torch state dict.",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(
            f"{path} is not a state dict.", hint="Save model.state_dict() rather than a checkpoint."
        )
    if (
        backbone
        and isinstance(model, GrayInput)
        and not any(k.startswith("network.") for k in state)
    ):
        _load_backbone(model.network, state, str(path))
    else:
        load_state(model, _grown(model, state), str(path))


def _grown(model: nn.Module, state: State) -> State:
    """Fill in the residual blocks that a shallower network of the same stages has not.

    They start as identities (Chen et al. 2016, arXiv:1511.05641): the last norm of each has
    weight 0, so that the deeper network computes what the shallower one did.
    """
    own = model.state_dict()
    stages = {m[1] for m in map(_BLOCK.match, state) if m}
    new = [m for m in map(_BLOCK.match, own) if m and m.string not in state and m[1] in stages]
    known = {m[0] for m in map(_BLOCK.match, state) if m}
    filled = {m.string: own[m.string] for m in new if m[0] not in known}
    for name in filled:
        if name.endswith("bn3.weight"):
            filled[name] = torch.zeros_like(filled[name])
    return state | filled


_BLOCK = re.compile(r"(network\.layer\d+)\.\d+\.")


def load_model(path: Path) -> nn.Module:
    """Build the model that a training wrote (``best.safetensors``) or an artifact folder holds.

    Raises
    ------
    ModelError
        Not there, damaged, or it does not say which model it is.
    ArtifactError
        A folder that is no artifact, or a damaged one.
    """
    if path.is_dir():
        return load_exported(path)
    if not path.is_file():
        raise ModelError(f"There is no weights file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            name = json.loads((file.metadata() or {}).get("model", "null"))
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {_line(error)}.") from error
    if name is None:
        raise ModelError(
            f"{path} does not say which model it holds.",
            hint="Give best.safetensors of a training run, or an artifact.",
        )
    return build_model(name, weights=path)


def load_state(model: nn.Module, state: State, source: str) -> None:
    """Copy ``state`` into ``model``; ModelError names the first tensor that does not fit."""
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in state:
            raise ModelError(
                f"{source} has no tensor {name}: it belongs to another model.",
                hint="Name the model that it was trained as with --model.",
            )
        if state[name].shape != tensor.shape:
            raise ModelError(
                f"{source}: {name} has shape {tuple(state[name].shape)}, "
                f"the model wants {tuple(tensor.shape)}."
            )
    model.load_state_dict({name: state[name] for name in own})


def load_imagenet(model: nn.Module, spec: ModelSpec) -> None:
    """Start from torchvision's ImageNet weights, all layers whose shape agrees.

    Raises
    ------
    ModelError
        There are none for this model, or they cannot be downloaded.
    """
    if spec.imagenet_weights is None:
        raise ModelError(
            f"There are no ImageNet weights for {spec.name}.", hint="Drop --pretrained."
        )
    try:
        weights = torchvision.models.get_weight(spec.imagenet_weights)
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the download has another hash
        raise ModelError(
            f"The ImageNet weights of {spec.name} cannot be downloaded: {_line(error)}.",
            hint="Fetch them on a machine with internet access and pass the file with --weights.",
        ) from error
    _load_backbone(model.get_submodule("network"), state, spec.imagenet_weights)


def _load_backbone(network: nn.Module, state: State, source: str) -> None:
    """Copy the tensors whose shape agrees; ModelError unless every convolution is among them."""
    own = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    for name, tensor in own.items():
        if tensor.ndim == 4 and name not in fitting:
            raise ModelError(f"{source} has no fitting tensor {name}: it belongs to another model.")
    network.load_state_dict(fitting, strict=False)


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
