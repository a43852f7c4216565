"""Faces with labels in memory, whatever file they came from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_edge.contract import EMOTIONS, Contract
from fer_edge.data.labels import Split
from fer_edge.emotions import meaning
from fer_edge.errors import DataError


@dataclass(frozen=True, eq=False)
class FaceDataset:
    """One split of a data set of faces.

    Attributes
    ----------
    faces : uint8 array, shape (N, size, size), or of colour (N, 3, size, size)
        48x48 and grayscale unless read for another contract; read-only and memory-mapped when it
        comes from the cache.
    labels : int64 array, shape (N,)
        Index into ``classes``.
    split : {"train", "val", "test"}
    fingerprint : str
        Hex SHA-256 of faces, labels and soft labels: the same wherever the data were read from.
    soft_labels : float32 array, shape (N, classes), optional
        Share of FER+ votes per emotion; rows sum to 1.
    names : str array, shape (N,), optional
        Where each face came from: a file name, or a line of a csv.
    classes : tuple of str
        What the labels mean: ``EMOTIONS``, or the labels of the contract that it was read for.
    left_out : dict of str to int
        Faces of the split per emotion that the contract has no label for.
    """

    faces: NDArray[np.uint8]
    labels: NDArray[np.int64]
    split: Split
    fingerprint: str
    soft_labels: NDArray[np.float32] | None = None
    names: NDArray[np.str_] | None = None
    classes: tuple[str, ...] = EMOTIONS
    left_out: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_arrays(
        cls,
        faces: NDArray[np.uint8],
        labels: NDArray[np.int64],
        split: Split,
        *,
        soft_labels: NDArray[np.float32] | None = None,
        names: NDArray[np.str_] | None = None,
        classes: tuple[str, ...] = EMOTIONS,
        left_out: Mapping[str, int] | None = None,
    ) -> "FaceDataset":
        """Make a data set of arrays as the attributes describe them, and fingerprint it."""
        fingerprint = content_fingerprint(faces, labels, soft_labels)
        return cls(faces, labels, split, fingerprint, soft_labels, names, classes, left_out or {})

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Classes that these data say nothing of: without a face, and either none of the seven
        emotions, as contempt is on FER2013, or another word for one that has faces."""
        counts = self.counts()
        seen = {meaning(name) for name, count in counts.items() if count}
        return tuple(
            name
            for name, count in counts.items()
            if not count and (meaning(name) not in EMOTIONS or meaning(name) in seen)
        )

    def counts(self) -> dict[str, int]:
        """Faces per class."""
        counts = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    def batch(self, chosen: slice | NDArray[np.intp]) -> NDArray[np.uint8]:
        """Copy some of the faces in the form that graphs take: (N, channels, size, size)."""
        faces = np.ascontiguousarray(self.faces[chosen])
        return faces if faces.ndim == 4 else faces[:, None]

    def require(self, contract: Contract) -> None:
        """Raise DataError unless the faces have the contract's form and the labels its meaning."""
        if self.faces.shape[1:] != contract.crop_shape or self.classes != contract.labels:
            raise DataError(
                f"These faces are {self.faces.shape[1:]}, labelled {', '.join(self.classes)}; the "
                f"model takes {contract}.",
                hint="Read them for it: load_dataset(..., contract=...).",
            )

    def copies_of(self, other: "FaceDataset") -> NDArray[np.bool_]:
        """Which faces are equal to one of another data set, pixel for pixel: bool (N,)."""
        there = {face.tobytes() for face in other.faces}
        return np.array([face.tobytes() in there for face in self.faces], np.bool_)

    def subset(self, indices: ArrayLike) -> "FaceDataset":
        """Copy the faces that ``indices`` (integers or a bool mask) select, in that order."""
        chosen = np.arange(len(self))[np.asarray(indices)]
        return FaceDataset.from_arrays(
            self.faces[chosen],
            self.labels[chosen],
            self.split,
            soft_labels=None if self.soft_labels is None else self.soft_labels[chosen],
            names=None if self.names is None else self.names[chosen],
            classes=self.classes,
            left_out=self.left_out,
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
