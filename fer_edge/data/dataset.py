"""Faces with labels in memory, whatever file they came from."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_edge.contract import EMOTIONS
from fer_edge.data.labels import Split


@dataclass(frozen=True, eq=False)
class FaceDataset:
    """One split of a data set of faces.

    Attributes
    ----------
    faces : uint8 array, shape (N, 48, 48)
        Grayscale; read-only and memory-mapped when it comes from the cache.
    labels : int64 array, shape (N,)
        Index into ``EMOTIONS``, 0..6.
    split : {"train", "val", "test"}
    fingerprint : str
        Hex SHA-256 of faces, labels and soft labels: the same wherever the data were read from.
    soft_labels : float32 array, shape (N, 7), optional
        Share of FER+ votes per emotion; rows sum to 1.
    names : str array, shape (N,), optional
        Where each face came from: a file name, or a line of a csv.
    """

    faces: NDArray[np.uint8]
    labels: NDArray[np.int64]
    split: Split
    fingerprint: str
    soft_labels: NDArray[np.float32] | None = None
    names: NDArray[np.str_] | None = None

    @classmethod
    def from_arrays(
        cls,
        faces: NDArray[np.uint8],
        labels: NDArray[np.int64],
        split: Split,
        *,
        soft_labels: NDArray[np.float32] | None = None,
        names: NDArray[np.str_] | None = None,
    ) -> "FaceDataset":
        """Make a data set of arrays as the attributes describe them, and fingerprint it."""
        fingerprint = content_fingerprint(faces, labels, soft_labels)
        return cls(faces, labels, split, fingerprint, soft_labels, names)

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self) -> dict[str, int]:
        """Faces per emotion."""
        return dict(
            zip(EMOTIONS, np.bincount(self.labels, minlength=len(EMOTIONS)).tolist(), strict=True)
        )

    def subset(self, indices: ArrayLike) -> "FaceDataset":
        """Copy the faces that ``indices`` (integers or a bool mask) select, in that order."""
        chosen = np.arange(len(self))[np.asarray(indices)]
        return FaceDataset.from_arrays(
            self.faces[chosen],
            self.labels[chosen],
            self.split,
            soft_labels=None if self.soft_labels is None else self.soft_labels[chosen],
            names=None if self.names is None else self.names[chosen],
        )


def content_fingerprint(
    faces: NDArray[np.uint8],
    labels: NDArray[np.int64],
    soft_labels: NDArray[np.float32] | None = None,
) -> str:
    """Hex SHA-256 of the arrays' little-endian bytes."""
    digest = hashlib.sha256(np.ascontiguousarray(faces).data)
    digest.update(labels.astype("<i8").tobytes())
    if soft_labels is not None:
        digest.update(soft_labels.astype("<f4").tobytes())
    return digest.hexdigest()
