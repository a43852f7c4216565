"""Checkpoints: one safetensors file with everything that the next epoch needs."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fer_edge.errors import StorageError, TrainingError
from fer_edge.files import atomic_path

LAST = "last.safetensors"
BEST = "best.safetensors"


@dataclass
class Progress:
    """Where a run stands after an epoch."""

    epoch: int = 0
    """Epochs finished."""
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = math.inf
    """On val, as the accuracy. Infinite in what older versions wrote."""
    data: str = ""
    """Hash of the faces, labels and weights trained on and of val; empty where it is not known."""


def save_model(path: Path, model: nn.Module, facts: dict[str, object]) -> None:
    """Write the weights of ``model``, with ``facts`` as metadata."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    _write(path, tensors, facts)


def save_state(
    path: Path,
    model: nn.Module,
    average: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: Progress,
) -> None:
    """Write model, averaged model, optimiser momentum, loss scale and progress."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{name}"] = momentum
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    _write(path, tensors, {"progress": vars(progress), "scaler": scaler.state_dict()})


def load_state(
    path: Path,
    model: nn.Module,
    average: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> Progress:
    """Restore what :func:`save_state` wrote.

    Raises
    ------
    TrainingError
        The checkpoint is damaged or belongs to another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
            progress = Progress(**json.loads(facts["progress"]))
            tensors: dict[str, Tensor] = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        model.load_state_dict(_part(tensors, "model."))
        if average is not None:
            average.load_state_dict(_part(tensors, "average."))
        if scaler.is_enabled():
            scaler.load_state_dict(json.loads(facts["scaler"]))
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path} cannot be resumed from: it is damaged or belongs to another model.",
            hint="Train into a new folder.",
        ) from error
    momentum = _part(tensors, "momentum.")
    for name, parameter in model.named_parameters():
        if name in momentum:
            buffer = momentum[name].to(parameter.device)
            # The buffer follows its parameter's memory format, as a fresh one would.
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(
                buffer
            )
    return progress


def _write(path: Path, tensors: dict[str, Tensor], facts: dict[str, object]) -> None:
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, {k: json.dumps(v) for k, v in facts.items()})
        except SafetensorError as error:  # what safetensors makes of an OSError
            raise StorageError(
                f"Cannot write {path}: {error}.", hint="Free some space or choose another place."
            ) from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
