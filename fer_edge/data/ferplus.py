"""FER+: ten people's votes for every face of FER2013."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.data.dataset import FaceDataset
from fer_edge.data.labels import USAGES, Split
from fer_edge.data.pixel_csv import read_columns, shorten
from fer_edge.emotions import meaning
from fer_edge.errors import DataError
from fer_edge.files import storage_errors

CHOICES = (
    *("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
    *("contempt", "unknown", "nf"),
)
"""Columns of votes: the seven emotions in the order of ``EMOTIONS``, then what is none of them."""


def read_votes(path: Path, split: Split) -> NDArray[np.int64]:
    """Read the votes of one split from ``fer2013new.csv``.

    Returns
    -------
    int64 array, shape (N, 10)
        Votes per choice, columns as in ``CHOICES``, in the order of the file.

    Raises
    ------
    DataError
        The file is missing or not as FER+ publishes it; the message names the line.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}.", hint="Give fer2013new.csv of FER+.")
    votes: list[list[int]] = []
    with storage_errors(path), path.open("rb") as stream:
        for line, (usage, *fields) in read_columns(stream, str(path), ("usage", *CHOICES)):
            found = USAGES.get(usage.strip().lower())
            if found is None:
                raise _bad_line(path, line, f"Usage is {shorten(usage)}")
            if not all(field.strip().isdecimal() for field in fields):
                raise _bad_line(path, line, "a number of votes is missing or no number")
            row = [int(field) for field in fields]
            if not any(row):
                raise _bad_line(path, line, "there are no votes")
            if found == split:
                votes.append(row)
    return np.array(votes, np.int64).reshape(-1, len(CHOICES))


def apply_votes(
    data: FaceDataset, votes: NDArray[np.int64], where: str, *, soft: bool
) -> FaceDataset:
    """Replace labels by FER+ votes.

    The label is the choice with most votes. A tie goes to the FER2013 label if that is among the
    tied, else to the first of them in the order of ``CHOICES``. Faces whose choice is contempt,
    unknown or not a face are left out, contempt only where it is not among ``data.classes``.

    Parameters
    ----------
    data : FaceDataset
        A split of FER2013 read from csv. Its classes may go on after the seven emotions.
    votes : int64 array, shape (N, 10)
        From :func:`read_votes` for the same split: both files list faces in the same order.
    where : str
        Name of the file of votes in messages.
    soft : bool
        Add ``soft_labels``: the shares of the votes for the classes.

    Raises
    ------
    DataError
        Faces and votes differ in number, or no face is left.

    References
    ----------
    Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
    Label Distribution", ICMI 2016.
    """
    if len(votes) != len(data):
        raise DataError(
            f"{where} has votes on {len(votes):,} faces of split {data.split}, the data set has "
            f"{len(data):,}.",
            hint="Both must be the whole file as published.",
        )
    weights = votes.astype(np.float32)
    weights[np.arange(len(data)), data.labels] += 0.5
    names = [meaning(choice) for choice in CHOICES]
    # A class that is no choice has the column after the last, which nobody votes for.
    columns = [names.index(name) if name in names else len(names) for name in data.classes]
    numbers = np.full(len(names), -1)
    for label, column in enumerate(columns):
        if column < len(names):
            numbers[column] = label
    choice = numbers[weights.argmax(axis=1)]
    keep = np.flatnonzero(choice >= 0)
    if not len(keep):
        raise DataError(f"{where} leaves no face of split {data.split}.", hint="Get it again.")
    emotions = np.pad(votes[keep], ((0, 0), (0, 1)))[:, columns]
    shares = (emotions / emotions.sum(axis=1, keepdims=True)).astype(np.float32)
    return FaceDataset.from_arrays(
        data.faces[keep],
        choice[keep].astype(np.int64),
        data.split,
        soft_labels=shares if soft else None,
        names=None if data.names is None else data.names[keep],
        classes=data.classes,
    )


def _bad_line(path: Path, line: int, what: str) -> DataError:
    return DataError(f"{path}, line {line}: {what}.", hint="Get fer2013new.csv again.")
