"""Teachers: trained networks whose probabilities another one learns."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_edge.models.weights import load_model
from fer_edge.training.config import TrainConfig


class Teacher:
    """An ensemble that is asked about the very faces the student sees, augmented alike.

    Hinton et al. 2015 (arXiv:1503.02531); the same view for both: Beyer et al. 2021
    (arXiv:2106.05237).
    """

    def __init__(self, networks: Sequence[Callable[[Tensor], Tensor]], temperature: float) -> None:
        self.networks = networks
        self.temperature = temperature

    @classmethod
    def load(cls, config: TrainConfig, device: torch.device) -> "Teacher":
        networks: list[nn.Module] = [
            load_model(Path(path)).eval().to(device).to(memory_format=torch.channels_last)
            for path in config.teachers
        ]
        return cls(
            [torch.compile(network) for network in networks] if config.compile else networks,
            config.distillation_temperature,
        )

    def loss(self, faces: Tensor, logits: Tensor) -> Tensor:
        """Mean divergence KL(teachers || student) at the temperature, times its square.

        Parameters
        ----------
        faces : float32 tensor, shape (N, 1, H, W)
        logits : float32 tensor, shape (N, 7)
            The student's.
        """
        t = self.temperature
        with torch.no_grad():
            wanted = torch.stack(
                [functional.softmax(network(faces).float() / t, 1) for network in self.networks]
            ).mean(0)
        return (
            t
            * t
            * functional.kl_div(
                functional.log_softmax(logits / t, 1), wanted, reduction="batchmean"
            )
        )
