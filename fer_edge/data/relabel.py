"""A data set's labels in the words of a model."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS, Contract
from fer_edge.data.dataset import FaceDataset
from fer_edge.emotions import meaning
from fer_edge.errors import DataError


def own_labels(contract: Contract) -> tuple[str, ...]:
    """What the model's labels mean beside the seven emotions, sorted."""
    return tuple(sorted({meaning(label) for label in contract.labels} - {*EMOTIONS}))


def emotion_shares(probabilities: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """What a model says, in the seven emotions alone.

    Parameters
    ----------
    probabilities : float32 array, shape (N, labels)
    contract : Contract
        Of the model.

    Returns
    -------
    float32 array, shape (N, 7)
        Rows sum to 1, and are even where nothing was said for any of the seven.
    """
    if contract.labels == EMOTIONS:
        return probabilities
    shares = np.zeros((len(probabilities), len(EMOTIONS)), np.float32)
    for column, label in enumerate(contract.labels):
        if meaning(label) in EMOTIONS:
            shares[:, EMOTIONS.index(meaning(label))] += probabilities[:, column]
    shares += np.finfo(np.float32).tiny
    return shares / shares.sum(axis=1, keepdims=True)


def relabel(data: FaceDataset, labels: tuple[str, ...]) -> FaceDataset:
    """Give labels the numbers that a model has for what they mean.

    Of several labels of the model that mean one emotion, the one that is spelled as the emotion
    counts, or else the first. Faces that the model has no label for are left out, and counted in
    ``left_out``.

    Raises
    ------
    DataError
        The model has a label for none of the faces.
    """
    if labels == data.classes:
        return data
    places: dict[str, int] = {}
    for place, label in sorted(enumerate(labels), key=lambda pair: meaning(pair[1]) != pair[1]):
        places.setdefault(meaning(label), place)
    numbers = np.array([places.get(name, -1) for name in data.classes])
    known = numbers[data.labels] >= 0
    counts = np.bincount(data.labels, minlength=len(data.classes))
    missed = {
        name: int(count)
        for name, count, number in zip(data.classes, counts, numbers, strict=True)
        if count and number < 0
    }
    if not known.any():
        raise DataError(
            f"The model has no label for a face of split {data.split}: it knows "
            f"{', '.join(labels)}, and these are {', '.join(missed)}.",
            hint="Give the labels of the model as the data spell them.",
        )
    kept = data if known.all() else data.subset(known)
    soft = None
    if kept.soft_labels is not None:
        soft = np.zeros((len(kept), len(labels)), np.float32)
        for column, number in enumerate(numbers):
            if number >= 0:
                soft[:, number] += kept.soft_labels[:, column]
        soft /= soft.sum(axis=1, keepdims=True)
    named = FaceDataset.from_arrays(
        kept.faces,
        numbers[kept.labels].astype(np.int64),
        kept.split,
        soft_labels=soft,
        names=kept.names,
        classes=labels,
    )
    return dataclasses.replace(named, left_out=missed)
