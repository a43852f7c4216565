"""Teachers: trained networks whose probabilities another one learns."""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fer_edge.contract import FER2013, Contract
from fer_edge.data import FaceDataset
from fer_edge.errors import ModelError
from fer_edge.files import cache_folder, without_cache, write_bytes
from fer_edge.models.trained import load_trained
from fer_edge.models.trial import check_model
from fer_edge.training.augment import in_color, normalise, resized
from fer_edge.training.config import TrainConfig

_ASKED = 512
"""Faces of a batch that teachers are asked about once."""


class Expert(NamedTuple):
    """One of the teachers, and the faces that it is made for."""

    network: Callable[[Tensor], Tensor]
    contract: Contract = FER2013
    identity: str = ""
    """Hash of its weights and of how they are put together; needed for stored labels alone."""


class Teacher:
    """An ensemble that is asked about the very faces the student sees, augmented alike, or once
    about each whole face (:meth:`stored`).

    Each teacher sees them at its own size and in its own colour; in the epochs in which the student
    sees smaller faces, as much smaller.

    Hinton et al. 2015 (arXiv:1503.02531); the same view for both: Beyer et al. 2021
    (arXiv:2106.05237).

    Parameters
    ----------
    experts : sequence of Expert
    temperature : float
    size : int
        Side of the student's faces in pixels, when they are whole.
    """

    def __init__(
        self, experts: Sequence[Expert], temperature: float, size: int = FER2013.size
    ) -> None:
        self.experts = experts
        self.temperature = temperature
        self.size = size

    @classmethod
    def load(cls, config: TrainConfig, device: torch.device) -> "Teacher":
        """Load the teachers of ``config``.

        Raises
        ------
        ModelError, ArtifactError
            One cannot be had, or knows other labels than the student.
        UsageError
            One does not take faces as small as the student's first.
        """
        student = config.contract
        experts = []
        for path in config.teachers:
            network, contract = load_trained(Path(path))
            if contract.labels != student.labels:
                raise ModelError(
                    f"The teacher {path} gives {', '.join(contract.labels)}; the student learns "
                    f"{', '.join(student.labels)}.",
                    hint="Take teachers of the same labels, in the same order.",
                )
            first = _scaled(contract, config.initial_size or student.size, student.size)
            check_model(network, f"The teacher {path}", contract, first)
            identity = _identity(network) if config.soft_labels else ""
            network = network.eval().to(device).to(memory_format=torch.channels_last)
            compiled = config.compile and not config.soft_labels
            ask = torch.compile(network) if compiled else network
            experts.append(Expert(ask, contract, identity))
        return cls(experts, config.distillation_temperature, student.size)

    def wanted(self, faces: Tensor) -> Tensor:
        """Mean of the teachers' softened probabilities, float32 (N, labels), of the student's
        faces, float32 (N, channels, H, W)."""
        with torch.no_grad():
            said = [self._says(expert, faces) for expert in self.experts]
            return torch.stack([functional.softmax(s / self.temperature, 1) for s in said]).mean(0)

    def stored(
        self, data: FaceDataset, faces: Tensor, on_ask: Callable[[int, int], None] | None = None
    ) -> Tensor:
        """What the teachers say of each whole face and of its mirror image, float32 (N, labels).

        Each is asked once about a data set: its logits are kept in the cache folder, for every
        student and temperature.

        Parameters
        ----------
        data : FaceDataset
        faces : uint8 tensor, shape (N, channels, size, size)
            Those of ``data``, on the device that trains.
        on_ask : callable(done, total), optional
            Called after each batch.
        """
        total = len(self.experts) * len(faces)
        parts = []
        for place, expert in enumerate(self.experts):
            said = _kept(expert, data)
            if said is None:
                batches = []
                for part in faces.split(_ASKED):
                    batches.append(self._both_ways(expert, part))
                    if on_ask:
                        done = place * len(faces) + sum(b.shape[1] for b in batches)
                        on_ask(done, total)
                said = torch.cat(batches, 1)
                _keep(expert, data, said)
            parts.append(functional.softmax(said.to(faces.device) / self.temperature, 2).mean(0))
        return torch.stack(parts).mean(0)

    @torch.no_grad()
    def _both_ways(self, expert: Expert, faces: Tensor) -> Tensor:
        """Logits of faces and of their mirror images, float32 (2, N, labels)."""
        whole = normalise(faces)
        return torch.stack([self._says(expert, whole), self._says(expert, whole.flip(3))])

    def _says(self, expert: Expert, faces: Tensor) -> Tensor:
        side = _scaled(expert.contract, faces.shape[-1], self.size)
        seen = resized(in_color(faces, expert.contract.channels), side)
        return expert.network(seen.contiguous(memory_format=torch.channels_last)).float()


def _scaled(contract: Contract, shown: int, size: int) -> int:
    """Side of a teacher's faces while the student sees ``shown`` of its ``size`` pixels."""
    return round(contract.size * shown / size)


def divergence(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Mean divergence KL(wanted || student) at the temperature, times its square.

    Parameters
    ----------
    logits : float32 tensor, shape (N, labels)
        The student's.
    wanted : float32 tensor, shape (N, labels)
        Softened probabilities.
    temperature : float
    """
    told = functional.log_softmax(logits / temperature, 1)
    return temperature**2 * functional.kl_div(told, wanted, reduction="batchmean")


def _identity(network: torch.nn.Module) -> str:
    digest = hashlib.sha256(str(network).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _place(expert: Expert, data: FaceDataset) -> Path:
    key = hashlib.sha256(f"{expert.identity}:{data.fingerprint}".encode()).hexdigest()[:32]
    return cache_folder() / "soft-labels" / f"{key}.npy"


def _kept(expert: Expert, data: FaceDataset) -> Tensor | None:
    """What :func:`_keep` wrote, or None where it is missing or damaged."""
    try:
        said = np.load(_place(expert, data), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if said.shape != (2, len(data), len(data.classes)) or not np.isfinite(said).all():
        return None
    return torch.from_numpy(said)


def _keep(expert: Expert, data: FaceDataset, said: Tensor) -> None:
    file = io.BytesIO()
    np.save(file, said.cpu().numpy())
    with without_cache():
        write_bytes(_place(expert, data), file.getvalue())
