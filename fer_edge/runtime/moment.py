"""What was seen in a frame."""

import dataclasses
import json
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS
from fer_edge.emotions import UNSURE
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture.base import Frame, State


@dataclass(frozen=True, eq=False)
class SeenFace:
    """A face in a frame."""

    track: int
    """The same number in every frame of a source for as long as the face is followed."""
    box: Box
    """In pixels of the frame; may reach over its border."""
    score: float | None
    """How sure the detector is, 0..1; None where it was not asked in this frame."""
    label: int
    """Index into ``classes``; keeps until another emotion leads clearly."""
    probabilities: NDArray[np.float32]
    """Shape (classes,), smoothed over time."""
    raw: NDArray[np.float32]
    """Shape (classes,), of this frame alone."""
    seen: bool = True
    """False where the detector misses a face that was there less than
    :data:`~fer_edge.runtime.tracking.HOLD_SECONDS` ago: then ``box`` is where it is expected, and
    the probabilities are those of its last sight."""
    classes: tuple[str, ...] = EMOTIONS
    """The labels of the model that said so."""
    threshold: float = 0.0
    """Probability of the label below which no emotion is named, 0..1."""

    @property
    def emotion(self) -> str | None:
        """What ``label`` is called; None where its probability is below ``threshold``."""
        sure = self.probabilities[self.label] >= self.threshold
        return self.classes[self.label] if sure else None

    @property
    def shown(self) -> str:
        """The emotion, or that it is unsure."""
        return self.emotion or UNSURE


@dataclass(frozen=True, eq=False, repr=False)
class Moment:
    """A frame and the faces in it."""

    frame: Frame
    faces: list[SeenFace]
    finished: float
    """``time.monotonic()`` when the faces were known, in seconds."""
    state: State = State.RUNNING
    """Of the camera. In a moment that only says that no frame came (``heartbeat`` of
    :meth:`fer_edge.Recognizer.watch`), what it is then; ``frame`` is the one before."""
    classes: tuple[str, ...] = EMOTIONS
    """The labels of the model that looked, also where it saw no face."""

    def __repr__(self) -> str:
        return (
            f"Moment({self.frame.source}, frame {self.frame.index}, {len(self.faces)} faces, "
            f"{self.age_ms:.0f} ms old, {self.state.value})"
        )

    @property
    def age_ms(self) -> float:
        """From the capture of the frame to its result, in milliseconds."""
        return 1e3 * (self.finished - self.frame.captured)

    def with_threshold(self, threshold: float) -> "Moment":
        """The same, its faces named from this probability on."""
        faces = [dataclasses.replace(face, threshold=threshold) for face in self.faces]
        return dataclasses.replace(self, faces=faces)

    def to_dict(self) -> dict[str, object]:
        """Everything but the pixels, ready for JSON.

        ``captured`` is in seconds since 1970, ``size`` the frame's width and height, ``box`` x, y,
        width and height; ``emotion`` is None where it is unsure.
        """
        height, width = self.frame.image.shape[:2]
        captured = time.time() - (time.monotonic() - self.frame.captured)
        return {
            "source": self.frame.source,
            "frame": self.frame.index,
            **({} if self.frame.file is None else {"file": self.frame.file}),
            "captured": round(captured, 3),
            "position": self.frame.position,
            "age_ms": round(self.age_ms, 3),
            "state": self.state.value,
            "size": [width, height],
            "faces": [
                {
                    "track": face.track,
                    "box": [round(float(value), 1) for value in face.box],
                    "score": None if face.score is None else round(face.score, 4),
                    "seen": face.seen,
                    "emotion": face.emotion,
                    "probabilities": _named(face.classes, face.probabilities),
                    "raw": _named(face.classes, face.raw),
                }
                for face in self.faces
            ],
        }

    def to_json(self) -> str:
        """:meth:`to_dict` in one line of JSON."""
        return json.dumps(self.to_dict())

    def to_rows(self) -> list[dict[str, object]]:
        """A flat row for each face seen, as :func:`fer_edge.runtime.row_files.columns` tells."""
        return [
            {
                "frame": self.frame.index,
                "file": self.frame.file,
                "time": self.frame.position,
                "track": face.track,
                **face.box._asdict(),
                "score": face.score,
                "emotion": face.emotion,
                **{
                    f"p_{name}": float(p)
                    for name, p in zip(face.classes, face.probabilities, strict=True)
                },
                **{f"raw_{name}": float(p) for name, p in zip(face.classes, face.raw, strict=True)},
            }
            for face in self.faces
            if face.seen
        ]


def blank_frame(source: str, captured: float) -> Frame:
    """A black picture, for a source that has shown nothing yet."""
    return Frame(np.zeros((480, 640, 3), np.uint8), captured, 0, source)


def _named(classes: tuple[str, ...], probabilities: NDArray[np.float32]) -> dict[str, float]:
    return {
        name: round(float(value), 4) for name, value in zip(classes, probabilities, strict=True)
    }
