"""Several processes that train one model, as ``torchrun`` starts them."""

import os
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Workers:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Number of the process on its machine, and of its GPU."""

    @property
    def leads(self) -> bool:
        """This process writes the files and tells the progress."""
        return self.rank == 0

    @classmethod
    def from_environment(cls) -> "Workers":
        """What torchrun set; one worker without it."""
        values = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
        return cls(*values)

    def join(self, device: torch.device) -> None:
        """Meet the others, over NCCL with GPUs and over gloo without."""
        if self.size > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Sum of ``value`` over the workers."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
