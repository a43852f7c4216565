"""Weights from files and from torchvision. Pickles are never trusted."""

from pathlib import Path

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fer_edge.errors import ModelError
from fer_edge.models.registry import ModelSpec

State = dict[str, Tensor]


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a whole model from ``.safetensors`` or a torch state dict (``weights_only=True``).

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
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise ModelError(f"{path} cannot be read as weights: {_line(error)}") from error
    except Exception as error:  # weights_only refuses with pickle.UnpicklingError
        raise ModelError(
            f"{path} holds more than tensors and was not loaded.",
            hint="Save it again as safetensors, or as a state dict.",
        ) from error
    load_state(model, state, str(path))


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
        state = weights.get_state_dict(progress=False)
    except OSError as error:
        raise ModelError(
            f"The ImageNet weights of {spec.name} cannot be downloaded: {_line(error)}.",
            hint="Fetch them on a machine with internet access and pass the file with --weights.",
        ) from error
    network = model.get_submodule("network")
    own = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fitting, strict=False)


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
