"""Teachers: trained networks whose probabilities another one learns."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fer_edge.contract import FER2013, Contract
from fer_edge.errors import ModelError
from fer_edge.models.trained import load_trained
from fer_edge.models.trial import check_model
from fer_edge.training.augment import in_color, resized
from fer_edge.training.config import TrainConfig


class Expert(NamedTuple):
    """One of the teachers, and the faces that it is made for."""

    network: Callable[[Tensor], Tensor]
    contract: Contract = FER2013


class Teacher:
    """An ensemble that is asked about the very faces the student sees, augmented alike.

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
            network = network.eval().to(device).to(memory_format=torch.channels_last)
            experts.append(Expert(torch.compile(network) if config.compile else network, contract))
        return cls(experts, config.distillation_temperature, student.size)

    def loss(self, faces: Tensor, logits: Tensor) -> Tensor:
        """Mean divergence KL(teachers || student) at the temperature, times its square.

        Parameters
        ----------
        faces : float32 tensor, shape (N, channels, H, W)
            The student's.
        logits : float32 tensor, shape (N, labels)
            The student's.
        """
        t = self.temperature
        with torch.no_grad():
            wanted = torch.stack(
                [functional.softmax(self._says(expert, faces) / t, 1) for expert in self.experts]
            ).mean(0)
        return (
            t
            * t
            * functional.kl_div(
                functional.log_softmax(logits / t, 1), wanted, reduction="batchmean"
            )
        )

    def _says(self, expert: Expert, faces: Tensor) -> Tensor:
        side = _scaled(expert.contract, faces.shape[-1], self.size)
        seen = resized(in_color(faces, expert.contract.channels), side)
        return expert.network(seen.contiguous(memory_format=torch.channels_last)).float()


def _scaled(contract: Contract, shown: int, size: int) -> int:
    """Side of a teacher's faces while the student sees ``shown`` of its ``size`` pixels."""
    return round(contract.size * shown / size)
