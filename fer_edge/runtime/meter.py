"""How many moments of a source come, and how old they are."""

import math
from collections import Counter, deque

from fer_edge.runtime.moment import Moment

_STEP = math.log(1.01)
"""Ages are counted in classes 1 % wide, so that days of them take no memory."""


class Meter:
    """Rate and age of the moments of one source."""

    def __init__(self) -> None:
        self.frames = 0
        self._newest: deque[float] = deque(maxlen=30)
        self._first = 0.0
        self._ages: Counter[int] = Counter()

    def add(self, moment: Moment) -> None:
        if not self.frames:
            self._first = moment.finished
        self.frames += 1
        self._newest.append(moment.finished)
        self._ages[math.floor(math.log(max(moment.age_ms, 1e-3)) / _STEP)] += 1

    @property
    def fps(self) -> float | None:
        """Of the newest 30 moments; None before there are two."""
        return _rate(len(self._newest), self._newest[0], self._newest[-1]) if self._newest else None

    @property
    def mean_fps(self) -> float | None:
        """Of all moments; None before there are two."""
        return _rate(self.frames, self._first, self._newest[-1]) if self._newest else None

    def age_ms(self, share: float) -> float | None:
        """Age that ``share`` (0..1) of the moments did not exceed, to 1 %; None without any."""
        left = share * self.frames
        for step in sorted(self._ages):
            left -= self._ages[step]
            if left <= 0:
                return math.exp((step + 1) * _STEP)
        return None


def _rate(count: int, first: float, last: float) -> float | None:
    return (count - 1) / (last - first) if last > first else None
