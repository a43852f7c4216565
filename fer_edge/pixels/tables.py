"""Weights with which pixels of one size become pixels of another, as whole numbers.

Each pixel of a resized row is a sum of neighbouring pixels of the source, by weights. Who has the
weights of Pillow and OpenCV gets their results in any place, on a GPU for example.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

WEIGHT_BITS = 22
"""Bits after the point of a weight; Pillow's PRECISION_BITS. 255 times the sum of a row's weights,
negative ones included, is still an int32."""

Table = NDArray[np.int32]
"""Shape (pixels of the target, taps + 1): the first source pixel that counts, and the weights of
the taps from there on. What reaches over the end of the source has the weight 0."""

_TABLES = 512
"""Tables that are kept, by sizes. Faces have a few hundred sizes and cameras one, and a table has
two to three numbers for each pixel of the source."""


@functools.lru_cache(_TABLES)
def crop_table(side: int, size: int) -> Table:
    """The weights with which :func:`fer_edge.pixels.crops.to_face` resizes a square.

    Pillow's own: Hamming where ``side`` is larger than ``size``, else Lanczos.
    """
    if side == size:
        return _as_they_are(size)
    larger = side > size
    scale = side / size
    stretch = max(scale, 1.0)
    support = (1.0 if larger else 3.0) * stretch
    centres = (np.arange(size) + 0.5) * scale
    # As C does it: what is cut off, not rounded; negative values are clipped.
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centres + support + 0.5).astype(np.int64), side)
    taps = int((end - first).max())
    at = first[:, None] + np.arange(taps)
    distance = (at - centres[:, None] + 0.5) * (1.0 / stretch)
    weights = _hamming(distance) if larger else _lanczos(distance)
    return _rounded(first, np.where(at < end[:, None], weights, 0.0))


@functools.lru_cache(_TABLES)
def shrinking_table(source: int, target: int, halvings: int) -> Table:
    """The weights with which :func:`fer_edge.detection.letterbox.shrunk` resizes, by OpenCV.

    Linear interpolation, after ``halvings`` of the source that are linear interpolations, too.
    OpenCV rounds after every step and this does once: a grey level apart, at most two.
    """
    if source == target and not halvings:
        return _as_they_are(target)
    first, weights = np.arange(source), np.ones((source, 1))
    for _ in range(halvings):
        first, weights = _interpolated(first, weights, len(first) // 2)
    if len(first) != target:
        first, weights = _interpolated(first, weights, target)
    return _rounded(first, weights)


def _interpolated(
    first: NDArray[np.int64], weights: NDArray[np.float64], target: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A table of as many rows as ``first`` has, interpolated to ``target`` rows."""
    source = len(first)
    at = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    lower = at.astype(np.int64)
    upper = np.minimum(lower + 1, source - 1)
    share = (at - lower)[:, None]
    offset = first[upper] - first[lower]
    taps = weights.shape[1]
    out = np.zeros((target, taps + int(offset.max())))
    out[:, :taps] = (1 - share) * weights[lower]
    columns = offset[:, None] + np.arange(taps)
    np.put_along_axis(
        out, columns, np.take_along_axis(out, columns, 1) + share * weights[upper], axis=1
    )
    return first[lower], out


def _as_they_are(size: int) -> Table:
    return _frozen(
        np.stack([np.arange(size), np.full(size, 1 << WEIGHT_BITS)], axis=1).astype(np.int32)
    )


def _rounded(first: NDArray[np.int64], weights: NDArray[np.float64]) -> Table:
    sums = np.zeros(len(weights))
    for column in weights.T:  # one after the other, as Pillow adds
        sums = sums + column
    scaled = weights * (1 / sums)[:, None] * (1 << WEIGHT_BITS)
    rounded = np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5))
    return _frozen(np.concatenate([first[:, None], rounded], axis=1).astype(np.int32))


def _frozen(table: Table) -> Table:
    table.setflags(write=False)
    return table


def _sinc(x: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(x == 0, 1.0, np.sin(x * math.pi) / (x * math.pi))


def _hamming(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    return np.where(x < 1, _sinc(x) * (0.54 + 0.46 * np.cos(x * math.pi)), 0.0)


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where((x >= -3) & (x < 3), _sinc(x) * _sinc(x / 3), 0.0)
