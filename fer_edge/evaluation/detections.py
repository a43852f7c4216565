"""How well boxes cover faces: matching, false boxes, average precision."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""(K, 4): x0, y0, x1, y1 in pixels."""
Found = tuple[Boxes, NDArray[np.float32]]
"""Boxes and their scores, (K,), 0..1."""

COVERS = 0.5
"""Intersection over union from which a box covers a face, as in WIDER FACE."""
SAME = 0.7
"""Intersection over union from which two detectors mean the same face."""


def overlaps(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Intersection over union of every box with every other, shape (K, L)."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    areas = [np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def match(boxes: Boxes, faces: Boxes, least: float) -> NDArray[np.intp]:
    """The face that each box covers, each face at most once; -1 for a box that covers none.

    Parameters
    ----------
    boxes : float32 array, shape (K, 4)
        The surest first: it chooses first.
    faces : float32 array, shape (L, 4)
    least : float
        Intersection over union from which a box covers a face.
    """
    shares = overlaps(boxes, faces)
    found = np.full(len(boxes), -1, np.intp)
    for index in range(len(boxes) if len(faces) else 0):
        best = int(shares[index].argmax())
        if shares[index, best] >= least:
            found[index] = best
            shares[:, best] = 0
    return found


def average_precision(
    found: Sequence[Found], faces: Sequence[Boxes], least: float = COVERS
) -> float:
    """Area under precision over recall, of the boxes of all frames ranked by their scores.

    Every recall counts with the best precision at it or above, at all points (PASCAL VOC 2010).
    """
    hits = [match(boxes, truth, least) >= 0 for (boxes, _), truth in zip(found, faces, strict=True)]
    total = sum(map(len, faces))
    order = np.argsort(-np.concatenate([scores for _, scores in found]), kind="stable")
    right = np.concatenate(hits)[order]
    if not total or not len(right):
        return 0.0
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[right].sum() / total)


def agreement(found: Sequence[Found], reference: Sequence[Found]) -> tuple[int, int, int]:
    """Faces of a reference, how many of them are found again, and boxes that are none of them."""
    matched = sum(
        int((match(boxes, faces, SAME) >= 0).sum())
        for (boxes, _), (faces, _) in zip(found, reference, strict=True)
    )
    return (
        sum(len(faces) for faces, _ in reference),
        matched,
        sum(len(boxes) for boxes, _ in found) - matched,
    )
