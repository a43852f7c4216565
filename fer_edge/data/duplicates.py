"""Copies of a face: exact, near and mirrored."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FACE_SIZE

Progress = Callable[[int, int], None]
Unit = NDArray[np.float32]
Pairs = NDArray[np.int64]

Kind = Literal["exact", "near", "mirrored"]
_Match = tuple[float, int, int]
"""Correlation and indices of two faces."""

NEAR: Final = 0.94
"""Least correlation of near and mirrored copies, at 48x48.

In 32,298 faces of FER2013 all of 64 pairs sampled between 0.94 and 0.95, and all ten mirrored pairs
above 0.94, were one photo: cropped anew, with a watermark, or recompressed. Two shots of a series
came at 0.920, two people at 0.910, and mirrored at 0.922.
"""

BLANK: Final = 5.0
"""Standard deviation of gray levels below which an image holds no face.

In FER2013 14 images lie below it, none a face; the faintest face has 9.1.
"""

_SMALL: Final = 16
# FER2013's pairs above 0.92 at 48x48 have 0.935 and more at 16x16.
_SLACK: Final = 0.02
_BLOCK: Final = 1024
_PAIRS: Final = 4096
_MATCHES: Final = 1_000_000
"""More of them than faces are thinned out: each takes some 150 bytes."""


@dataclass(frozen=True)
class DuplicateGroup:
    """Faces that are copies of one another, directly or through others of the group.

    Attributes
    ----------
    members : tuple of int
        Indices of the faces, ascending; at least two.
    kind : {"exact", "near", "mirrored"}
        The loosest link that it takes to hold the group together.
    correlation : float
        The lowest correlation of these links, 0..1; 1 for exact copies.
    """

    members: tuple[int, ...]
    kind: Kind
    correlation: float


def blank(faces: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which of the faces, shape (N, 48, 48), are of one gray, or nearly: bool, shape (N,)."""
    return contrast(faces) < BLANK


def contrast(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Standard deviation of every face's gray levels, float32, shape (N,)."""
    parts = [
        faces[i : i + _BLOCK].std(axis=(1, 2), dtype=np.float32)
        for i in range(0, len(faces), _BLOCK)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def first_copies(faces: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Index of the first face with the same pixels, itself included: shape (N,)."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(face.tobytes(), i) for i, face in enumerate(faces)], np.int64)


def find_duplicates(
    faces: NDArray[np.uint8],
    *,
    threshold: float = NEAR,
    progress: Progress | None = None,
) -> list[DuplicateGroup]:
    """Group copies of a face.

    Exact copies have the same pixels. Near copies correlate (Pearson, over pixels) with
    ``threshold`` or more, which neither brightness nor contrast changes; mirrored copies do so
    after one is flipped from left to right. Correlation at 16x16, by a matrix product in blocks,
    picks the pairs to compare at 48x48. Blank faces are copies of nothing.

    Parameters
    ----------
    faces : uint8 array, shape (N, 48, 48)
    threshold : float
        Least correlation, 0..1; the default is what FER2013 needs (:data:`NEAR`).
    progress : callable, optional
        Called with the faces compared and the faces in all.

    Returns
    -------
    list of DuplicateGroup
        By their first members.
    """
    first = first_copies(faces)
    seen = ~blank(faces)
    distinct = np.flatnonzero((first == np.arange(len(faces))) & seen)
    links = _Links(len(faces))
    for i in np.flatnonzero((first != np.arange(len(faces))) & seen).tolist():
        links.join(int(first[i]), i, "exact", 1.0)

    found: dict[Kind, list[_Match]] = {"near": [], "mirrored": []}
    for kind, pairs, correlation in _correlated(faces, distinct, threshold, progress):
        found[kind] += zip(correlation.tolist(), *distinct[pairs].T.tolist(), strict=True)
        if len(found[kind]) > len(faces) + _MATCHES:
            found[kind] = _tightest(found[kind], len(faces))
    for kind, matches in found.items():
        for correlation_of_pair, a, b in sorted(matches, reverse=True):
            links.join(a, b, kind, correlation_of_pair)
    return links.groups()


def _tightest(matches: list[_Match], n: int) -> list[_Match]:
    """Those that hold all together that all hold together: fewer than ``n``.

    A maximum spanning forest: that of a forest and of further matches is that of all of them.
    Frames of one video match each other, all with all.
    """
    links = _Links(n)
    return [one for one in sorted(matches, reverse=True) if links.join(one[1], one[2], "near", 1.0)]


def _correlated(
    faces: NDArray[np.uint8],
    distinct: NDArray[np.int64],
    threshold: float,
    progress: Progress | None,
) -> Iterator[tuple[Kind, Pairs, Unit]]:
    """Give pairs of positions in ``distinct`` with their correlation, a block at a time."""
    n = len(distinct)
    small = np.empty((n, _SMALL, _SMALL), np.float32)
    factor = FACE_SIZE // _SMALL
    for start in range(0, n, _BLOCK):
        part = faces[distinct[start : start + _BLOCK]]
        cells = part.reshape(-1, _SMALL, factor, _SMALL, factor)
        small[start : start + _BLOCK] = cells.mean(axis=(2, 4), dtype=np.float32)
    upright = _unit(small)
    mirrored = upright.reshape(small.shape)[:, :, ::-1].reshape(upright.shape)
    orders: tuple[tuple[Kind, int, Unit], ...] = (("near", 1, upright), ("mirrored", -1, mirrored))
    for start in range(0, n, _BLOCK):
        for kind, order, queries in orders:
            product = queries[start : start + _BLOCK] @ upright[start:].T
            close = np.argwhere(product >= threshold - _SLACK)
            close = close[close[:, 0] < close[:, 1]] + start
            for i in range(0, len(close), _PAIRS):
                pairs = close[i : i + _PAIRS]
                a, b = faces[distinct[pairs[:, 0]]], faces[distinct[pairs[:, 1]]]
                exact = np.einsum("np,np->n", _unit(a[:, :, ::order]), _unit(b))
                kept = exact >= threshold
                yield kind, pairs[kept], exact[kept]
        if progress is not None:
            progress(min(start + _BLOCK, n), n)


def _unit(images: NDArray[np.uint8] | Unit) -> Unit:
    """Rows of zero mean and unit norm, so that their product is the correlation."""
    rows = images.reshape(len(images), math.prod(images.shape[1:])).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-6))
    return rows


class _Links:
    """Disjoint sets of faces, with the loosest link that holds each together.

    Links must come from the tightest to the loosest.
    """

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))
        self._loosest: dict[int, tuple[Kind, float]] = {}

    def _root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, a: int, b: int, kind: Kind, correlation: float) -> bool:
        """Whether they were apart."""
        a, b = sorted((self._root(a), self._root(b)))
        if a == b:
            return False
        self._parent[b] = a
        lowest = min(correlation, *(self._loosest[r][1] for r in (a, b) if r in self._loosest), 1.0)
        self._loosest[a] = (kind, lowest)
        return True

    def groups(self) -> list[DuplicateGroup]:
        members: dict[int, list[int]] = {}
        for i in range(len(self._parent)):
            members.setdefault(self._root(i), []).append(i)
        return [
            DuplicateGroup(tuple(group), *self._loosest[root])
            for root, group in members.items()
            if len(group) > 1
        ]
