"""Steady answers: probabilities smoothed over time, and a label that does not flicker."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError

Vector = NDArray[np.float32]


@dataclass
class _Memory:
    probabilities: Vector
    label: int
    time: float


class Smoother:
    """Smooths the probabilities of each track, and keeps its label until another leads clearly.

    A first-order low-pass in seconds, so that the frame rate does not change what it does: after
    ``seconds`` a new expression has reached 63 % of its value. The label changes once another
    emotion's smoothed probability is ``margin`` above that of the label.

    Parameters
    ----------
    seconds : float
        Time constant; 0 passes the probabilities on as they are.
    margin : float
        Hysteresis, in probability; 0 makes the label the most probable emotion.

    Raises
    ------
    UsageError
        A negative value.
    """

    def __init__(self, *, seconds: float = 0.2, margin: float = 0.2) -> None:
        if not seconds >= 0:
            raise UsageError(f"Smoothing must be 0 seconds or more, got {seconds}.")
        if not margin >= 0:
            raise UsageError(f"The margin of smoothing must be 0 or more, got {margin}.")
        self._seconds = seconds
        self._margin = margin
        self._tracks: dict[int, _Memory] = {}

    def update(self, track: int, probabilities: Vector, time: float) -> tuple[Vector, int]:
        """Take what the engine said of a track's face at ``time`` (seconds).

        Parameters
        ----------
        probabilities : float32 array, shape (labels,)

        Returns
        -------
        float32 array, shape (labels,)
            Smoothed; sums to 1 as the input does.
        int
            The label, an index.
        """
        memory = self._tracks.get(track)
        if memory is None:
            memory = _Memory(probabilities, int(probabilities.argmax()), time)
            self._tracks[track] = memory
            return memory.probabilities, memory.label
        gap = max(time - memory.time, 0.0)
        share = 1 - math.exp(-gap / self._seconds) if self._seconds else 1.0
        memory.probabilities = memory.probabilities + np.float32(share) * (
            probabilities - memory.probabilities
        )
        memory.time = time
        leader = int(memory.probabilities.argmax())
        if memory.probabilities[leader] - memory.probabilities[memory.label] >= self._margin:
            memory.label = leader
        return memory.probabilities, memory.label

    def keep(self, tracks: Collection[int]) -> None:
        """Forget all tracks but these."""
        self._tracks = {t: memory for t, memory in self._tracks.items() if t in tracks}
