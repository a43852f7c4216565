"""What a recording showed, in sum."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS
from fer_edge.emotions import UNSURE
from fer_edge.runtime.moment import Moment

SECONDS_PER_BIN = 0.2


@dataclass
class _Bin:
    """A track for a while."""

    probabilities: NDArray[np.float64]
    frames: int = 0


class Summary:
    """Adds up moments; its size grows with the seconds of the tracks, not with the frames.

    Parameters
    ----------
    classes : tuple of str
        The labels of the model.
    """

    def __init__(self, classes: tuple[str, ...] = EMOTIONS) -> None:
        self.classes = classes
        self.frames = 0
        self.faces = 0
        self.seconds: float | None = None
        """Time of the last frame; None where frames have none."""
        self.labels: Counter[str] = Counter()
        """Faces per emotion, the unsure ones under a name of their own."""
        self.tracks: defaultdict[int, defaultdict[int, _Bin]] = defaultdict(
            lambda: defaultdict(lambda: _Bin(np.zeros(len(classes))))
        )
        """Track to number of the bin (of ``SECONDS_PER_BIN``) to what it was then."""

    def add(self, moment: Moment) -> None:
        self.frames += 1
        self.faces += len(moment.faces)
        self.seconds = moment.frame.position
        for face in moment.faces:
            self.labels[face.shown] += 1
            if self.seconds is not None:
                one = self.tracks[face.track][int(self.seconds / SECONDS_PER_BIN)]
                one.frames += 1
                one.probabilities += face.probabilities

    @property
    def shares(self) -> dict[str, float]:
        """Share of each emotion in the time of all faces, 0..1; all 0 without faces.

        Where some were unsure, their share is the last.
        """
        unsure = (UNSURE,) if self.labels[UNSURE] else ()
        return {name: self.labels[name] / max(self.faces, 1) for name in (*self.classes, *unsure)}

    def to_dict(self) -> dict[str, object]:
        """Frames, seconds, faces, tracks and shares, ready for JSON."""
        return {
            "frames": self.frames,
            "seconds": self.seconds,
            "faces": self.faces,
            "tracks": len(self.tracks) if self.seconds is not None else None,
            "shares": {name: round(share, 4) for name, share in self.shares.items()},
        }

    def over_time(self, track: int, bins: int) -> NDArray[np.float64]:
        """Mean probabilities of a track in ``bins`` equal parts of the recording.

        Returns
        -------
        float64 array, shape (bins, classes)
            NaN while the track was not seen.
        """
        total = int((self.seconds or 0.0) / SECONDS_PER_BIN) + 1
        sums = np.zeros((bins, len(self.classes)))
        counts = np.zeros(bins)
        for index, one in self.tracks[track].items():
            # A short recording has more bins than steps: a step then fills several.
            first = index * bins // total
            last = max((index + 1) * bins // total, first + 1)
            sums[first:last] += one.probabilities
            counts[first:last] += one.frames
        with np.errstate(invalid="ignore"):
            return sums / counts[:, None]
