"""Fitting a network's features to those of a trained one (Romero et al. 2015, arXiv:1412.6550)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from fer_edge.errors import ModelError

STEPS = 2000
RATE = 3e-3

Batches = Callable[[], Tensor]
"""Draws normalised, augmented faces: float32 (N, 1, 48, 48)."""
Fit = Callable[[Sequence[nn.Module], Sequence[nn.Module]], None]
""":func:`fit` on given faces: of the parts of a student to those of a source."""


def fit(
    student: Sequence[nn.Module],
    source: Sequence[nn.Module],
    faces: Batches,
    *,
    steps: int,
    autocast: torch.autocast,
    on_step: Callable[[int, int], None] | None = None,
) -> None:
    """Train ``student`` such that after each part its first channels are those of ``source``.

    Parameters
    ----------
    student, source : sequence of torch.nn.Module
        Parts, one after the other; each of the student's gives features of the size of the
        source's, in at least as many channels. The first of the student's takes three channels.
    faces : callable() -> float32 tensor, shape (N, 1, 48, 48)
    steps : int
    autocast : torch.autocast
    on_step : callable(step, steps), optional

    Raises
    ------
    ModelError
        At this size of faces, the features of the two differ in size.
    """
    trained = nn.ModuleList(student).train()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=RATE)
    schedule = OneCycleLR(optimizer, RATE, total_steps=max(steps, 2))
    for step in range(steps):
        wanted = faces().contiguous(memory_format=torch.channels_last)
        got = wanted.expand(-1, 3, -1, -1)
        loss = wanted.new_zeros(())
        with autocast:
            for ours, theirs in zip(student, source, strict=True):
                with torch.no_grad():
                    wanted = theirs(wanted)
                got = ours(got)
                if got.shape[2:] != wanted.shape[2:]:
                    raise ModelError(
                        f"The features of the two networks are of {got.shape[-1]} and of "
                        f"{wanted.shape[-1]} pixels at this size of faces.",
                        hint="Take a --size that 16 divides, such as 48 or 64.",
                    )
                first, whole = got[:, : wanted.shape[1]].float(), wanted.float()
                spread = whole.std((0, 2, 3), keepdim=True) + 1e-3
                loss = loss + functional.mse_loss(first / spread, whole / spread)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step:
            on_step(step + 1, steps)
    optimizer.zero_grad(set_to_none=True)
