"""Of all boxes that lie on a face, the surest one."""

import numpy as np
from numpy.typing import NDArray

MOST_CANDIDATES = 5000
"""Boxes above the least score that are compared; a face has about ten of them."""


def surest(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], *, min_score: float, max_iou: float
) -> NDArray[np.intp]:
    """Non-maximum suppression, the surest boxes first.

    Parameters
    ----------
    boxes : float32 array, shape (N, 4)
        x0, y0, x1, y1; those that are not finite or have no area are left out.
    scores : float32 array, shape (N,)
    min_score : float
        Less sure boxes are left out.
    max_iou : float
        Boxes that overlap a surer one more than this are left out, 0..1.

    Returns
    -------
    int array, shape (K,)
        Indices of those that are left, by falling score.
    """
    candidates = np.flatnonzero(scores >= min_score)
    order = np.argsort(-scores[candidates], kind="stable")[:MOST_CANDIDATES]
    candidates = candidates[order]
    chosen = boxes[candidates].astype(np.float64)
    # What has no bounds overflows where areas are computed, and is no face.
    finite = np.isfinite(chosen).all(axis=1)
    candidates, chosen = candidates[finite], chosen[finite]
    sides = np.maximum(chosen[:, 2:] - chosen[:, :2], 0)
    areas = sides.prod(axis=1)
    candidates, chosen, areas = candidates[areas > 0], chosen[areas > 0], areas[areas > 0]
    kept: list[int] = []
    left = np.arange(len(candidates))
    while len(left):
        first, left = left[0], left[1:]
        kept.append(candidates[first])
        low = np.maximum(chosen[left, :2], chosen[first, :2])
        high = np.minimum(chosen[left, 2:], chosen[first, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        left = left[shared <= max_iou * (areas[left] + areas[first] - shared)]
    return np.array(kept, np.intp)
