"""Weights from files and from torchvision. Pickles are never trusted."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from fer_edge.contract import Contract
from fer_edge.errors import ModelError, first_line
from fer_edge.models.gray import GrayInput
from fer_edge.models.head import head_tensors
from fer_edge.models.packaged import describe_package, packaged_state
from fer_edge.models.registry import ModelSpec

State = dict[str, Tensor]


def load_weights(
    model: nn.Module, path: Path, *, backbone: bool = False, new_head: bool = False
) -> None:
    """Load a whole model from ``.safetensors`` or a torch state dict (``weights_only=True``).

    Parameters
    ----------
    model : torch.nn.Module
    path : Path
    backbone : bool
        Take torchvision's own file for the network inside ``model``, too; its classifier stays
        as initialised.
    new_head : bool
        Leave the head (:func:`~fer_edge.models.head.head_tensors`) as initialised.

    Raises
    ------
    ModelError
        Not there, not a state dict, or made for another model.
    """
    state = read_state(path).tensors
    if backbone and isinstance(model, GrayInput) and not any(_bare(k) != k for k in state):
        left_out = head_tensors(model.network) if new_head else []
        state = {name: tensor for name, tensor in state.items() if name not in left_out}
        _load_backbone(model.network, state, str(path))
    else:
        state = _renamed(model, state)
        load_state(model, _grown(model, state), str(path), new_head=new_head)


@dataclass(frozen=True)
class ReadState:
    """The tensors of a file of weights."""

    tensors: State
    within: str | None
    """Entry of the file that they were taken from; None where the file holds nothing else."""


_NESTS = (
    "ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema", "state_dict",
    "model_state_dict", "model_state", "net_state_dict", "model", "net", "network", "module",
    "weights", "params",
)  # fmt: skip
"""Entries that checkpoints keep weights under. Averaged ones come first: they are the ones that
their authors measure."""
_WRAPPERS = ("module.", "_orig_mod.", "network.", "model.", "net.", "ema_model.")
"""What DataParallel, torch.compile, Lightning and others around a network put before names."""


def read_state(path: Path) -> ReadState:
    """Read the weights in a file: safetensors, a torch state dict, or one inside a checkpoint.

    Raises
    ------
    ModelError
        Not there, empty, cut short, a pickled module, or without weights.
    """
    if not path.is_file():
        raise ModelError(f"There is no weights file {path}.")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty.", hint="Copy or download it again.")
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModelError(
            f"{path} holds something else than tensors, such as a whole module, and was not "
            "loaded: that would run code of its author.",
            hint="Where that code is trusted, save its weights alone: "
            f"torch.save(torch.load('{path.name}', weights_only=False).state_dict(), "
            "'weights.pth')",
        ) from error
    except Exception as error:  # what torch.load makes of a foreign file has no common base
        raise ModelError(
            f"{path} cannot be read as weights: {first_line(error)}.",
            hint="Give a safetensors file or a torch state dict; one that was cut short has to be "
            "copied or downloaded again.",
        ) from error
    return _unwrapped(found, path)


def _unwrapped(found: object, path: Path) -> ReadState:
    within: list[str] = []
    while isinstance(found, dict) and not _is_state(found):
        nest = next((k for k in _NESTS if isinstance(found.get(k), dict) and found[k]), None)
        if nest is None:
            break
        found, within = found[nest], [*within, nest]
    if not isinstance(found, dict) or not _is_state(found):
        there = f" (it has {', '.join(map(str, found))[:120]})" if isinstance(found, dict) else ""
        raise ModelError(
            f"{path} is not a state dict{there}.",
            hint="Save model.state_dict() rather than a checkpoint.",
        )
    tensors = {k: v for k, v in found.items() if isinstance(v, Tensor)}
    return ReadState(tensors, ".".join(within) or None)


def _is_state(found: dict[str, object]) -> bool:
    """Whether names stand for tensors; averaged weights may have a count beside them."""
    tensors = sum(isinstance(v, Tensor) for v in found.values())
    return tensors > 0 and not any(isinstance(v, dict) for v in found.values())


def _bare(name: str) -> str:
    """A tensor's name without what wrappers put before it."""
    while (wrapper := next((w for w in _WRAPPERS if name.startswith(w)), None)) is not None:
        name = name.removeprefix(wrapper)
    return name


def _renamed(model: nn.Module, state: State) -> State:
    """The tensors under the names that ``model`` has for them, whatever wraps either."""
    own = model.state_dict()
    names = {_bare(name): name for name in own}
    found = {names.get(_bare(name), name): tensor for name, tensor in state.items()}
    # torch before 0.4.1 counted no batches, and nothing but a training reads the counts.
    counts = {
        name: value
        for name, value in own.items()
        if name.endswith("num_batches_tracked")
        and name.replace("num_batches_tracked", "running_mean") in found
    }
    return counts | found


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


def contract_facts(contract: Contract) -> dict[str, object]:
    """What a file of weights says of the faces that its network takes, as metadata."""
    return {"size": contract.size, "color": contract.color, "labels": contract.labels}


def read_facts(path: Path) -> dict[str, Any]:
    """What a file of safetensors says of itself; ModelError if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {first_line(error)}.") from error


def load_state(model: nn.Module, state: State, source: str, *, new_head: bool = False) -> None:
    """Copy ``state`` into ``model``; ModelError names the first tensor that does not fit.

    With ``new_head`` the head stays as it is.
    """
    own = model.state_dict()
    head = head_tensors(model)
    if new_head:
        if not head:
            raise ModelError(
                "The network has no linear layer, so no head to renew.",
                hint="Train it without --new-head.",
            )
        state = state | {name: own[name] for name in head}
    wrong = [k for k, v in own.items() if k not in state or state[k].shape != v.shape]
    if wrong:
        name = wrong[0]
        if name in state:
            problem = (
                f"{source}: {name} has shape {tuple(state[name].shape)}, "
                f"the model wants {tuple(own[name].shape)}."
            )
        else:
            problem = f"{source} has no tensor {name}: it belongs to another model."
        hint = "Name the model that it was trained as with --model."
        if set(wrong) <= set(head):
            hint += " To go on from its features alone: fer-edge train --new-head."
        raise ModelError(problem, hint=hint)
    model.load_state_dict({name: state[name] for name in own})


def imagenet_source(spec: ModelSpec) -> str | None:
    """Where the ImageNet weights of a model are from, with their licence where a package has them.

    Raises
    ------
    MissingDependencyError
        They are in a package that is not installed.
    """
    if spec.packaged_weights is not None:
        return describe_package(spec.packaged_weights)
    return None if spec.imagenet_weights is None else f"torchvision {spec.imagenet_weights}"


def load_imagenet(model: nn.Module, spec: ModelSpec) -> None:
    """Start from the model's ImageNet weights, all layers whose shape agrees.

    Raises
    ------
    ModelError
        There are none for this model, or they cannot be downloaded.
    MissingDependencyError
        They are in a package that is not installed.
    """
    if spec.packaged_weights is not None:
        network = model.get_submodule("network")
        state = packaged_state(network, spec.packaged_weights)
        _load_backbone(network, state, spec.packaged_weights.package)
        return
    if spec.imagenet_weights is None:
        raise ModelError(
            f"There are no ImageNet weights for {spec.name}.", hint="Drop --pretrained."
        )
    try:
        weights = torchvision.models.get_weight(spec.imagenet_weights)
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the download has another hash
        raise ModelError(
            f"The ImageNet weights of {spec.name} cannot be downloaded: {first_line(error)}.",
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
