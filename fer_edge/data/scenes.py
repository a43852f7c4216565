"""Frames made of faces, at places that are known."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from fer_edge.detector_contract import Bucket
from fer_edge.errors import InputError

MOST = 8
"""Faces in a frame."""
SIDES = (72, 160)
"""Smallest and largest side of a face in pixels of a frame of 640x480."""
_REFERENCE = (640, 480)


class Scenes:
    """Frames in which one to eight faces of a data set lie on a dim background.

    Each frame is made when it is asked for, and the same each time.

    Parameters
    ----------
    faces : uint8 array, shape (N, H, W) or (N, channels, H, W)
        Gray, or RGB.
    size : Bucket
        Of the frames; faces are as large as the frames are.
    count : int
        How many frames.
    seed : int

    Raises
    ------
    InputError
        There are no faces.
    """

    def __init__(
        self, faces: NDArray[np.uint8], size: Bucket, count: int, *, seed: int = 0
    ) -> None:
        if not len(faces):
            raise InputError("Frames are made of faces, and there are none.")
        planes = faces[:, None] if faces.ndim == 3 else faces
        self._faces = np.moveaxis(planes, 1, -1)
        self.size = size
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def scene(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Frame ``index`` and where its faces are.

        Returns
        -------
        frame : uint8 array, shape (height, width, 3), BGR
        boxes : float32 array, shape (K, 4)
            x0, y0, x1, y1 in pixels.
        """
        rng = np.random.default_rng((self.seed, index))
        width, height = self.size
        coarse = Pillow.fromarray(rng.integers(60, 140, (9, 12, 3), dtype=np.uint8))
        frame = np.array(coarse.resize((width, height), Pillow.Resampling.BICUBIC))
        count = int(rng.integers(1, MOST + 1))
        columns = math.ceil(math.sqrt(count * width / height))
        rows = math.ceil(count / columns)
        cell = min(width // columns, height // rows)
        scale = min(width / _REFERENCE[0], height / _REFERENCE[1])
        boxes = []
        for place, which in enumerate(rng.choice(len(self._faces), count)):
            side = min(round(rng.uniform(*SIDES) * scale), cell)
            left = place % columns * (width // columns)
            top = place // columns * (height // rows)
            x = left + int(rng.integers(0, width // columns - side + 1))
            y = top + int(rng.integers(0, height // rows - side + 1))
            frame[y : y + side, x : x + side] = _enlarged(self._faces[which], side)
            boxes.append((x, y, x + side, y + side))
        return frame, np.array(boxes, np.float32)

    def frames(self) -> NDArray[np.uint8]:
        """All frames, uint8 (count, height, width, 3)."""
        return np.stack([self.scene(index)[0] for index in range(self.count)])


def _enlarged(face: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """BGR or gray, (side, side, 3 or 1)."""
    picture = Pillow.fromarray(face[..., 0] if face.shape[-1] == 1 else face)
    large = np.asarray(picture.resize((side, side), Pillow.Resampling.BICUBIC))
    return large[..., None] if large.ndim == 2 else large[..., ::-1]
