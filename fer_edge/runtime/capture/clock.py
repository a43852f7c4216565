"""Times of a recording that can be relied on, whatever its container says."""

import math
from collections import deque
from statistics import median

USUAL_RATE = 25.0
"""Frames a second of what says nothing about its rate."""
_LONGEST_GAP = 600.0
"""Seconds from one frame to the next beyond which it is the clock that has moved."""
_MANY = 20
"""Usual steps that a gap may have however long they are: those of a time lapse are hours."""
_SHORTEST_STEP = 5e-4
"""Seconds; several steps below this in a row are ticks, not times."""
_REMEMBERED = 31
_ENOUGH = 3
"""Steps from which the usual one is known."""


class Clock:
    """Makes the times of a recording finite, from 0 on, and strictly rising.

    A time that does not follow from the one before is replaced: the frame is taken to come one
    usual step later, and what follows goes on from there.

    Parameters
    ----------
    rate : float, optional
        Frames a second by the recording's own account.
    """

    def __init__(self, rate: float | None = None) -> None:
        self._rate = rate
        self._steps: deque[float] = deque(maxlen=_REMEMBERED)
        self._time: float | None = None
        self._offset = 0.0
        self._small = 0
        self.fault: str | None = None
        """What was wrong first; None while nothing is."""

    @property
    def rate(self) -> float:
        """Frames a second at which frames without a usable time are counted."""
        if len(self._steps) >= _ENOUGH:
            return 1 / median(self._steps)
        return self._rate or USUAL_RATE

    def time(self, told: float | None) -> float | None:
        """Seconds of a frame whose source tells ``told``; None where it has never told any."""
        if told is None and self._time is None and self._rate is None:
            return None
        usable = told is not None and math.isfinite(told)
        if self._time is None:
            if not usable:
                self._blame("has no times of its own" if told is None else "tells no time")
            elif told is not None and told < 0:
                self._blame("begins before 0")
                self._offset = -told
            now = told + self._offset if usable and told is not None else 0.0
        elif not usable or told is None:
            self._blame("has frames without a time")
            now = self._time + 1 / self.rate
        else:
            now = self._following(told, self._time)
        self._time = now
        return now

    def _following(self, told: float, before: float) -> float:
        step = told + self._offset - before
        counted = before + 1 / self.rate
        self._small = self._small + 1 if 0 < step < _SHORTEST_STEP else 0
        if step > 0 and not self._leaps(step) and self._small < 2 and before + step > before:
            if step >= _SHORTEST_STEP:
                self._steps.append(step)
            return before + step
        if step <= 0:
            self._blame("has a clock that stands still or goes back")
        else:
            self._blame("has a clock that leaps" if self._small < 2 else "has a clock that creeps")
        # A single frame with another's time leaves the clock as it is: it will have caught up.
        if step < -1 / self.rate or step > 0:
            self._offset = counted - told
        return counted

    def _leaps(self, step: float) -> bool:
        known = len(self._steps) >= _ENOUGH or self._rate is not None
        return known and step > max(_LONGEST_GAP, _MANY / self.rate)

    def _blame(self, fault: str) -> None:
        self.fault = self.fault or fault
