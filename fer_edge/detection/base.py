"""What every detector is, a program's own among them."""

import math
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fer_edge.engines.frames import GpuFrame
from fer_edge.errors import InputError
from fer_edge.pixels.boxes import Box

Image = NDArray[np.uint8]
"""Shape (H, W, 3), BGR, or (H, W), gray."""

Pixels = Image | GpuFrame
"""A frame where its detector looks at it, which is where its faces are cut out."""


class Detection(NamedTuple):
    """A face that a detector found."""

    box: Box
    """In pixels of the frame."""
    score: float
    """How sure the detector is, 0..1."""
    landmarks: tuple[tuple[float, float], ...] = ()
    """x, y in pixels of the frame of both eyes, the nose and the corners of the mouth, pairs from
    left to right of the picture; empty where a detector gives none."""


class Detector(Protocol):
    """Anything that finds faces; a program's own detector needs this one method.

    It is called by one thread, the one that watches. A detector that many threads may call says in
    an attribute ``at_once`` how many frames it may be given at once: then it looks at the next
    frames while the faces of one are classified.
    """

    def __call__(self, image: Image) -> list[Detection]:
        """Find the faces in a BGR (H, W, 3) or gray (H, W) frame."""


def frames_at_once(detector: Detector) -> int:
    """How many frames a detector may be given at once; 1 where it does not say."""
    told = getattr(detector, "at_once", 1)
    if not isinstance(told, int) or told < 1:
        raise InputError(f"The detector's at_once must be a number of 1 or more, got {told!r}.")
    return told


def look(detector: Detector, image: Pixels) -> tuple[list[Detection], Pixels]:
    """Ask a detector, and keep the frame where it has looked at it; raises as :func:`detect` does.

    A detector that runs on a GPU has a method ``place``, which says where that is, and takes what
    that gives.
    """
    place = getattr(detector, "place", None)
    pixels: Pixels = image if place is None else place(image)
    return detect(detector, pixels), pixels


def detect(detector: Detector, image: Pixels) -> list[Detection]:
    """Ask a detector, which may be a program's own, and check what it says.

    Raises
    ------
    InputError
        Something else than a list of Detections, or a box without an area.
    """
    # Only what a detector has placed itself is anything else than an array.
    found: object = detector(cast(Image, image))
    if not isinstance(found, list | tuple):
        raise _wrong(f"gave {type(found).__name__} in the place of a list")
    for one in found:
        if not isinstance(one, Detection):
            raise _wrong(f"gave {type(one).__name__} in the place of a Detection")
        if not isinstance(one.box, Box):
            raise _wrong(f"gave {type(one.box).__name__} in the place of a Box")
        if not (all(map(math.isfinite, one.box)) and one.box.width > 0 and one.box.height > 0):
            raise _wrong(f"gave a box without an area, {tuple(one.box)}")
    return list(found)


def _wrong(what: str) -> InputError:
    return InputError(
        f"The detector {what}.",
        hint="It must return [Detection(Box(x, y, width, height), score), …], both from "
        "fer_edge.runtime.",
    )
