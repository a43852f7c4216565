"""Several data sets as one to train on."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fer_edge.data.dataset import FaceDataset
from fer_edge.errors import UsageError


def mix(
    datasets: Sequence[FaceDataset], weights: Sequence[float], *, held_out: FaceDataset
) -> tuple[FaceDataset, NDArray[np.float32]]:
    """Join the train splits of several data sets, the main one first.

    Faces of the others that are equal to one of ``held_out``, pixel for pixel, are left out: as
    many as the result has fewer faces than ``datasets`` together.

    Parameters
    ----------
    datasets : sequence of FaceDataset
        One at least.
    weights : sequence of float
        Weight of the loss of a face, one per data set; above 0.
    held_out : FaceDataset
        Val of the main data set.

    Returns
    -------
    FaceDataset
        Faces in the order of ``datasets``, all of the first included. It has soft labels if one of
        ``datasets`` has; those of the others are one-hot.
    float32 array, shape (N,)
        Weight of each face's loss.

    Raises
    ------
    UsageError
        A weight too many or too few, or one that is not a positive number.
    """
    if len(weights) != len(datasets):
        raise UsageError(
            f"Weights and data sets differ in number: {len(weights)} and {len(datasets)}.",
            hint="Give one weight per data set.",
        )
    for weight in weights:
        if not (math.isfinite(weight) and weight > 0):
            raise UsageError(
                f"The weight of a data set is {weight:g}.", hint="Give a number above 0."
            )
    first, *others = datasets
    parts = [first, *(data.subset(~data.copies_of(held_out)) for data in others)]
    soft = any(part.soft_labels is not None for part in parts)
    names = [part.names for part in parts if part.names is not None]
    mixture = FaceDataset.from_arrays(
        np.concatenate([part.faces for part in parts]),
        np.concatenate([part.labels for part in parts]),
        first.split,
        soft_labels=np.concatenate([_soft_labels(part) for part in parts]) if soft else None,
        names=np.concatenate(names) if len(names) == len(parts) else None,
        classes=first.classes,
    )
    return mixture, np.repeat(np.array(weights, np.float32), [len(part) for part in parts])


def _soft_labels(data: FaceDataset) -> NDArray[np.float32]:
    if data.soft_labels is not None:
        return data.soft_labels
    return np.eye(len(data.classes), dtype=np.float32)[data.labels]
