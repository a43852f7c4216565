"""Frames made from real faces, and live cameras that show them."""

import itertools
import math
import time
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image as Pillow

from fer_edge.engines.base import Faces
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture import Source
from fer_edge.runtime.capture.base import Image

FPS = 30
WIDTH, HEIGHT = 640, 480
SIDE = 120
"""Pixels of a face in a frame: RetinaFace finds all of 80 such faces, and 66 where it is 72."""


class Scene:
    """Faces of FER2013 that wander, each in its own part of a dim frame.

    Parameters
    ----------
    faces : uint8 array, shape (N, 48, 48)
    speed : float
        Pixels a second, at most.
    """

    def __init__(self, faces: Faces, *, speed: float = 60.0, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        coarse = Pillow.fromarray(rng.integers(60, 140, (9, 12, 3), dtype=np.uint8))
        size = (WIDTH, HEIGHT)
        self._background = np.asarray(coarse.resize(size, Pillow.Resampling.BICUBIC))
        columns = math.ceil(math.sqrt(len(faces) * WIDTH / HEIGHT))
        rows = math.ceil(len(faces) / columns)
        self._cell = np.array([WIDTH / columns, HEIGHT / rows])
        self._homes = np.array([(i % columns, i // columns) for i in range(len(faces))])
        self._reach = np.maximum(self._cell - SIDE, 0) / 2
        self._rate = speed / np.maximum(self._reach, 1) * rng.uniform(0.5, 1, (len(faces), 2))
        self._phase = rng.uniform(0, 2 * math.pi, (len(faces), 2))
        self.faces: list[Image] = [enlarged(face) for face in faces]

    def places(self, seconds: float) -> list[Box]:
        """Where the faces are."""
        swing = self._reach * np.sin(self._rate * seconds + self._phase)
        corners = (self._homes + 0.5) * self._cell + swing - SIDE / 2
        return [Box(*map(round, corner), SIDE, SIDE) for corner in corners.tolist()]

    def frame(self, seconds: float) -> Image:
        """BGR, uint8 (480, 640, 3)."""
        image = self._background.copy()
        for face, box in zip(self.faces, self.places(seconds), strict=True):
            x, y = int(box.x), int(box.y)
            image[y : y + SIDE, x : x + SIDE] = face[..., None]
        return image

    def recording(self, seconds: float) -> list[Image]:
        return [self.frame(i / FPS) for i in range(max(round(seconds * FPS), 1))]


def enlarged(face: Image) -> Image:
    return np.asarray(Pillow.fromarray(face).resize((SIDE, SIDE), Pillow.Resampling.BICUBIC))


def recorded(frames: Iterable[Image]) -> Source:
    """A recording of ``frames`` at 30 a second."""

    class Reader:
        def __init__(self) -> None:
            self.images = enumerate(frames)

        def read(self) -> tuple[Image, float] | None:
            found = next(self.images, None)
            return None if found is None else (found[1], found[0] / FPS)

        def close(self) -> None:
            pass

    return Source("recording", False, Reader)


def live(frames: Sequence[Image], name: str, fps: float = FPS) -> Source:
    """A camera that shows ``frames`` over and over."""

    class Device:
        def __init__(self) -> None:
            self.images = itertools.cycle(frames)
            self.due = time.monotonic()

        def read(self) -> tuple[Image, None]:
            self.due = max(self.due + 1 / fps, time.monotonic() - 1 / fps)
            time.sleep(max(self.due - time.monotonic(), 0))
            return next(self.images), None

        def close(self) -> None:
            pass

    return Source(name, True, Device)
