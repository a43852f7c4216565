"""What can go wrong in a step of a training, for people."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fer_edge.errors import TrainingError

_COMPILERS = ("torch._dynamo.", "torch._inductor.")
"""Modules of what torch.compile raises; it has no public name."""


@contextmanager
def failures_told(device: torch.device) -> Iterator[None]:
    """Raise TrainingError where the memory of ``device`` is full or torch.compile fails."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"The memory of {device} is full.",
            hint="Train into a new --out with a smaller --batch.",
        ) from error
    except Exception as error:
        if not type(error).__module__.startswith(_COMPILERS):
            raise
        reason = str(getattr(error, "inner_exception", error)).partition("\n")[0].rstrip(".")
        raise TrainingError(
            f"torch.compile failed: {reason}.",
            hint="Install a C++ compiler (apt install g++), or train with --no-compile.",
        ) from error
