"""Which face is whose from frame to frame."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fer_edge.pixels.boxes import Box

_VELOCITY_SECONDS = 0.15
"""Time constant of the velocity: long enough that a detector's jitter is no motion."""
_BUFFER = 0.3
"""Of a box's sides, added all around before boxes are compared, so that faces are not lost whose
boxes have ceased to overlap: of quick ones, and of small ones that are detected now and then."""
HOLD_SECONDS = 0.5
"""How long a face that the detector misses is held to be there still."""


@dataclass
class _Track:
    number: int
    box: Box
    seen: float
    velocity: tuple[float, float] | None = None
    """Pixels a second; None before the second sight."""

    def at(self, time: float) -> Box:
        gap = time - self.seen
        x, y = self.velocity or (0.0, 0.0)
        return self.box._replace(x=self.box.x + x * gap, y=self.box.y + y * gap)

    def move(self, box: Box, time: float) -> None:
        gap = time - self.seen
        if gap > 0:
            share = 1 - math.exp(-gap / _VELOCITY_SECONDS)
            found = ((box.x - self.box.x) / gap, (box.y - self.box.y) / gap)
            x, y = self.velocity or found
            self.velocity = (x + share * (found[0] - x), y + share * (found[1] - y))
        self.box, self.seen = box, time


class Tracker:
    """Gives the faces of one source numbers that last.

    Each box is given to the track whose expected place it overlaps most (the best pairs first, by
    intersection over union, as in Bewley et al. 2016, arXiv:1602.00763, with a constant velocity
    in the place of their Kalman filter, and boxes widened as in Yang et al. 2023,
    arXiv:2211.14317). What is left over begins a track.

    Parameters
    ----------
    min_iou : float
        Least overlap of a box with the place where its track is expected, both widened, 0..1.
    max_gap : float
        Seconds without a box after which a track has ended.
    """

    def __init__(self, *, min_iou: float = 0.1, max_gap: float = 1.0) -> None:
        self._min_iou = min_iou
        self._max_gap = max_gap
        self._tracks: list[_Track] = []
        self._numbers = itertools.count()
        self._updated = -math.inf

    def update(self, boxes: Sequence[Box], time: float) -> list[int]:
        """Take what the detector found at ``time`` (seconds); returns each box's track."""
        self._forget(time)
        self._updated = time
        places = [_widened(track.at(time)) for track in self._tracks]
        pairs = sorted(
            (
                (overlap, b, t)
                for b, box in enumerate(map(_widened, boxes))
                for t, place in enumerate(places)
                if (overlap := iou(box, place)) >= self._min_iou
            ),
            reverse=True,
        )
        given: dict[int, _Track] = {}
        taken: set[int] = set()
        for _, b, t in pairs:
            if b not in given and t not in taken:
                given[b] = self._tracks[t]
                taken.add(t)
                self._tracks[t].move(boxes[b], time)
        for b, box in enumerate(boxes):
            if b not in given:
                given[b] = _Track(next(self._numbers), box, time)
                self._tracks.append(given[b])
        return [given[b].number for b in range(len(boxes))]

    def predict(self, time: float) -> dict[int, Box]:
        """Where the faces of the last detection are expected at ``time``, by track."""
        self._forget(time)
        return {t.number: t.at(time) for t in self._tracks if t.seen == self._updated}

    def missed(self, time: float) -> dict[int, Box]:
        """Where those are expected that it missed, for :data:`HOLD_SECONDS` after their sight."""
        return {
            track.number: track.at(time)
            for track in self._tracks
            if track.seen < self._updated and time - track.seen <= HOLD_SECONDS
        }

    @property
    def alive(self) -> frozenset[int]:
        """Tracks that have not ended."""
        return frozenset(track.number for track in self._tracks)

    def _forget(self, time: float) -> None:
        self._tracks = [t for t in self._tracks if time - t.seen <= self._max_gap]


def _widened(box: Box) -> Box:
    x, y = _BUFFER * box.width, _BUFFER * box.height
    return Box(box.x - x, box.y - y, box.width + 2 * x, box.height + 2 * y)


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0..1."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.width * a.height + b.width * b.height - shared)
