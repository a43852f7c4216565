"""Frames of any size laid into the one size that a detector's graph takes."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.detector_contract import LARGEST_SIDE, STRIDES, Bucket
from fer_edge.engines.frames import GpuFrame, Layout, Piece, Resampled
from fer_edge.pixels.tables import shrinking_table

Pixels = NDArray[np.uint8]

MARGIN = (104, 117, 127)
"""BGR, what the graph subtracts: around the frame its convolutions see zeros, as around its own
border."""

_SIDES = 320
"""Larger sides are multiples of this, so that frames of all sizes share a few graphs."""
_SHAPES = (9 / 16, 3 / 4, 1.0)
"""Smaller side over larger side: of films, of cameras and photos, and the square."""
_LEAST_SCALE = 0.97
"""Of the scale that was asked for: 1088 rows in the place of 1080, or 479 of 480, need no graph of
their own."""


def wanted_scale(width: int, height: int, size: int) -> float:
    """By what a frame is scaled down so that its larger side is at most ``size`` pixels."""
    return min(size / max(width, height), 1.0)


def scale_into(width: int, height: int, bucket: Bucket, size: int) -> float:
    """By what a frame is scaled to fit into a bucket, and :func:`wanted_scale` at most."""
    fit = min(bucket.width / width, bucket.height / height)
    return min(fit, wanted_scale(width, height, size))


def best_bucket(width: int, height: int, buckets: Sequence[Bucket], size: int) -> Bucket:
    """The smallest of ``buckets`` in which a frame has the scale wanted, or else the largest scale.

    Parameters
    ----------
    width, height : int
        Of the frame.
    buckets : sequence of Bucket
        What there is; at least one.
    size : int
        As :func:`wanted_scale` takes it.
    """
    scales = {bucket: scale_into(width, height, bucket, size) for bucket in buckets}
    enough = _LEAST_SCALE * max(scales.values())
    fitting = [bucket for bucket in buckets if scales[bucket] >= enough]
    return min(fitting, key=lambda bucket: (bucket.width * bucket.height, -scales[bucket]))


def standard_bucket(width: int, height: int, size: int) -> Bucket:
    """The bucket that is made for frames of this size where any can be had.

    One of a few: 640x384, 640x480, 640x640, those that stand, and smaller and larger ones in steps
    of 320. Sides are multiples of the coarsest stride, so that each level has twice the cells of
    the next.
    """
    larger, smaller = max(width, height), min(width, height)
    within = min(size, math.ceil(larger / _SIDES) * _SIDES)
    shapes = [Bucket(_in_cells(within), _in_cells(within * shape)) for shape in _SHAPES]
    lying = best_bucket(larger, smaller, shapes, size)
    return lying if width >= height else lying.turned


def _in_cells(side: float) -> int:
    return math.ceil(side / STRIDES[-1]) * STRIDES[-1]


def largest_size() -> int:
    """The largest side that a frame may be looked at with."""
    return LARGEST_SIDE


def letterboxed(image: Pixels, bucket: Bucket, scale: float) -> Pixels:
    """A frame scaled down, in the upper left corner of a batch of one.

    Parameters
    ----------
    image : uint8 array, shape (H, W, 3) in BGR, or (H, W)
    bucket : Bucket
    scale : float
        At most 1, and such that the frame fits; see :func:`scale_into`.

    Returns
    -------
    uint8 array, shape (1, bucket.height, bucket.width, 3)
        C-contiguous; the frame itself, not a copy, where it has that size already.
    """
    height, width = image.shape[:2]
    size = _scaled(width, height, scale)
    if size != (width, height):
        image = shrunk(image, size)
        height, width = image.shape[:2]
    if image.shape == (bucket.height, bucket.width, 3):
        return np.ascontiguousarray(image)[None]
    out = np.empty((1, bucket.height, bucket.width, 3), np.uint8)
    out[0, :height, :width] = image if image.ndim == 3 else image[..., None]
    out[0, height:] = MARGIN
    out[0, :height, width:] = MARGIN
    return out


def letterboxed_there(frame: GpuFrame, bucket: Bucket, scale: float) -> Resampled:
    """The same as :func:`letterboxed`, made on the frame's GPU.

    As OpenCV makes it: a grey level apart, and two in one of a thousand pixels of noise. Of 604
    faces in 100 frames of 1000 to 1920 pixels, of six photos each, INT8 finds 602 in both, and two
    others in one whose scores are near the least.
    """
    height, width = frame.shape[:2]
    size = _scaled(width, height, scale)
    times = halvings(width, height, size)
    across = shrinking_table(width, size[0], times)
    down = shrinking_table(height, size[1], times)
    layout = Layout(bucket.width, bucket.height, 3, planar=False, margin=MARGIN)
    return frame.resampled(layout, [Piece(0, 0, across, down)])


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    """Width and height of a frame scaled by 1 at most."""
    if scale >= 1:
        return width, height
    return max(round(width * scale), 1), max(round(height * scale), 1)


def halvings(width: int, height: int, size: tuple[int, int]) -> int:
    """How often a frame is halved before the rest of the way to ``size`` is interpolated."""
    times = 0
    while width >= 2 * size[0] and height >= 2 * size[1]:
        width, height, times = width // 2, height // 2, times + 1
    return times


def shrunk(image: Pixels, size: tuple[int, int]) -> Pixels:
    """The image at a size no larger than its own, without aliasing.

    By OpenCV where that is installed (1280x720 to 640x360 in 0.5 ms, 1920x1080 in 2), else by
    Pillow (3 and 6 ms): halved, or divided by a whole number, as often as goes, and the rest
    interpolated. Plain bilinear interpolation would leave out pixels.
    """
    if image.shape[1::-1] == size:
        return image
    # OpenCV and Pillow want their rows whole; whatever the order of channels is, it stays.
    image = np.ascontiguousarray(image)
    cv2 = _cv2()
    if cv2 is None:
        return _shrunk_by_pillow(image, size)
    for _ in range(halvings(image.shape[1], image.shape[0], size)):
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image, half, interpolation=cv2.INTER_LINEAR)
    if image.shape[1::-1] != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return image


def _shrunk_by_pillow(image: Pixels, size: tuple[int, int]) -> Pixels:
    from PIL import Image as Pillow

    mode, from_above = ("L", image.shape[1::-1]) if image.ndim == 2 else ("RGB", image.shape[1::-1])
    picture = Pillow.frombuffer(mode, from_above, image, "raw", mode, 0, 1)
    factor = min(image.shape[1] // size[0], image.shape[0] // size[1])
    if factor > 1:
        picture = picture.reduce(factor)
    if picture.size != size:
        picture = picture.resize(size, Pillow.Resampling.BILINEAR)
    return np.asarray(picture)


@functools.cache
def _cv2() -> Any:
    """OpenCV, or None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2
