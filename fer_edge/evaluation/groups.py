"""An audit: how scores differ between groups of people, as the user's csv tells them."""

import csv
import io
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import pydantic
from numpy.typing import NDArray

from fer_edge import metrics
from fer_edge.data import FaceDataset
from fer_edge.data.text import decode, sniff, split_lines
from fer_edge.engines.base import Probabilities
from fer_edge.errors import DataError
from fer_edge.files import storage_errors

SMALLEST = 50
"""Faces below which a group is counted and not scored: its accuracy would be known to no better
than 14 points either way (Wilson's interval at 50 %)."""
_MOST_VALUES = 30
_PARTS = 4
NAME = "name"
"""Column of the faces' names, as predictions.csv has it; else it is the first."""

Interval = tuple[float, float]


class GroupScore(pydantic.BaseModel):
    """What one group scored. Shares are 0..1; intervals are Wilson's, of 95 %."""

    column: str
    group: str
    n: int
    accuracy: float | None = None
    """None, as what follows, where there are too few faces to tell."""
    interval: Interval | None = None
    ece: float | None = None
    recall: dict[str, float] = {}
    """Of the emotions that the group has enough faces of."""
    recall_interval: dict[str, Interval] = {}


class Gap(pydantic.BaseModel):
    """The largest difference of accuracy between two groups of a column."""

    column: str
    best: str
    worst: str
    difference: float
    interval: Interval
    """Of the difference, of 95 % for all pairs of the column together (Newcombe 1998, method 10,
    and Bonferroni's correction: best and worst were picked after looking)."""

    @property
    def real(self) -> bool:
        """Whether chance alone would rarely make it."""
        return self.interval[0] > 0


class Audit(pydantic.BaseModel):
    """Scores by group. ``model_dump(mode="json")`` makes it JSON."""

    smallest: int
    """Faces below which nothing is said of a group."""
    unnamed: int
    """Faces that the csv has no line for; they are in no group."""
    groups: list[GroupScore]
    gaps: list[Gap]


def read_groups(path: Path, dataset: FaceDataset) -> dict[str, NDArray[np.str_]]:
    """Read which group each face is in.

    Parameters
    ----------
    path : Path
        A csv with a header. Its column ``name``, or else its first, names the face as
        ``predictions.csv`` of ``fer-edge evaluate --out`` does, with or without folders; every
        other column is a way of grouping. Columns of numbers are cut at their quartiles.
    dataset : FaceDataset

    Returns
    -------
    dict of str to str array, shape (N,)
        By column; an empty string is no group.

    Raises
    ------
    DataError
        No such table, none of its names fits, one of them is that of several faces or stands in
        several lines, or a column has more than 30 values that are no numbers.
    """
    with storage_errors(path):
        text = decode(path.read_bytes())
    delimiter = sniff(split_lines(text)[0], [NAME])
    try:
        lines = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise DataError(f"{path} is not a csv: {error}.", hint="Save it as csv again.") from error
    if len(lines) < 2 or len(lines[0]) < 2:
        raise DataError(
            f"{path} has no groups.",
            hint="Give a csv with a header: name,age,light and so on, and a line for each face.",
        )
    header = [column.strip() for column in lines[0]]
    key = header.index(NAME) if NAME in header else 0
    table = [row for row in lines[1:] if len(row) == len(header)]
    row_of = {row[key].strip(): row for row in table}
    names = _names(dataset)
    _refuse_repeated(path, [row[key].strip() for row in table])
    _refuse_ambiguous(path, row_of.keys(), names)
    rows = [row_of.get(name) or row_of.get(PurePosixPath(name).name) for name in names]
    if not any(rows):
        raise DataError(
            f"{path} names {next(iter(row_of), 'nothing')!r} and the like in its column "
            f"{header[key]!r}, and the data have {names[0] if names else 'no faces'!r}.",
            hint="Take the names of predictions.csv, which fer-edge evaluate --out FOLDER writes.",
        )
    return {
        column: _grouped(
            path, column, [row[place].strip() if row is not None else "" for row in rows]
        )
        for place, column in enumerate(header)
        if place != key
    }


def _refuse_repeated(path: Path, known: Sequence[str]) -> None:
    """Raise DataError where a name stands in several lines, which may say different things."""
    repeated = [name for name, lines in Counter(known).items() if lines > 1]
    if repeated:
        raise DataError(
            f"{path} has several lines for {repeated[0]!r}; {len(repeated):,} of its names stand "
            "there more than once.",
            hint="Keep one line for each face; write folders before names that are alike, as "
            "predictions.csv has them, which fer-edge evaluate --out FOLDER writes.",
        )


def _refuse_ambiguous(path: Path, known: Collection[str], names: Sequence[str]) -> None:
    """Raise DataError where a name without folders, that the csv has, is that of several faces."""
    meant: dict[str, set[str]] = {}
    for name in names:
        bare = PurePosixPath(name).name
        if name not in known and bare in known:
            meant.setdefault(bare, set()).add(name)
    several = {bare: sorted(full) for bare, full in meant.items() if len(full) > 1}
    if several:
        bare, full = next(iter(several.items()))
        raise DataError(
            f"{path}: {bare!r} may be {full[0]} or {full[1]}; {len(several):,} of its names are "
            "those of several faces.",
            hint="Write folders before names, as predictions.csv has them, which fer-edge evaluate "
            "--out FOLDER writes.",
        )


def _names(dataset: FaceDataset) -> list[str]:
    named = range(len(dataset)) if dataset.names is None else dataset.names
    return [str(name) for name in named]


def _grouped(path: Path, column: str, values: Sequence[str]) -> NDArray[np.str_]:
    """The values, or where they are many numbers the quarter that each is in."""
    distinct = {value for value in values if value}
    if len(distinct) <= _MOST_VALUES and not (len(distinct) > _PARTS and _are_numbers(distinct)):
        return np.array(values, str)
    if not _are_numbers(distinct):
        raise DataError(
            f"{path}: column {column!r} has {len(distinct)} different values, and groups of that "
            "many would be too small.",
            hint="Leave the column out, or put its values together in fewer groups.",
        )
    numbers = np.array([float(value) if value else np.nan for value in values])
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, _PARTS + 1)))
    part = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, max(len(edges) - 2, 0))
    ends = _shortest(edges)
    texts = [f"{low} to {high}" for low, high in pairwise(ends)] or ends
    return np.array(
        ["" if np.isnan(number) else texts[p] for number, p in zip(numbers, part, strict=True)], str
    )


def _shortest(edges: NDArray[np.float64]) -> list[str]:
    """Numbers that differ, with as few digits as tell them apart."""
    # Ten are a Unix time in seconds without an exponent, thirteen in milliseconds.
    for digits in (6, 10, 13):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(texts)) == len(edges):
            return texts
    return [repr(float(edge)) for edge in edges]


def _are_numbers(values: set[str]) -> bool:
    try:
        return all(np.isfinite(float(value)) for value in values)
    except ValueError:
        return False


def audit(
    groups: dict[str, NDArray[np.str_]],
    dataset: FaceDataset,
    probabilities: Probabilities,
    *,
    smallest: int = SMALLEST,
) -> Audit:
    """Score every group of every column.

    Parameters
    ----------
    groups
        As :func:`read_groups` gives them.
    dataset : FaceDataset
    probabilities : float32 array, shape (N, labels)
        Of its faces.
    smallest : int
        Groups, and emotions in a group, with fewer faces are counted and not scored.

    Returns
    -------
    Audit
    """
    scores: list[GroupScore] = []
    gaps: list[Gap] = []
    named = np.zeros(len(dataset), bool)
    for column, values in groups.items():
        named |= values != ""
        found = [
            _score(column, str(group), values == group, dataset, probabilities, smallest)
            for group in sorted(np.unique(values[values != ""]), key=_by_number)
        ]
        scores += found
        known = [group for group in found if group.accuracy is not None]
        if len(known) > 1:
            gaps.append(_gap(column, known))
    return Audit(smallest=smallest, unnamed=int((~named).sum()), groups=scores, gaps=gaps)


def _by_number(group: str) -> tuple[bool, float, str]:
    """Numbers, and ranges by where they begin, before words."""
    first = group.split()[0]
    return (False, float(first), "") if _are_numbers({first}) else (True, 0.0, group)


def _score(
    column: str,
    group: str,
    inside: NDArray[np.bool_],
    dataset: FaceDataset,
    probabilities: Probabilities,
    smallest: int,
) -> GroupScore:
    n = int(inside.sum())
    score = GroupScore(column=column, group=group, n=n)
    if n < smallest:
        return score
    labels, given = np.asarray(dataset.labels)[inside], probabilities[inside]
    right = given.argmax(axis=1) == labels
    score.accuracy = float(right.mean())
    score.interval = metrics.wilson_interval(int(right.sum()), n)
    score.ece = metrics.expected_calibration_error(given, labels)
    for label, emotion in enumerate(dataset.classes):
        of_it = labels == label
        if of_it.sum() >= smallest:
            score.recall[emotion] = float(right[of_it].mean())
            score.recall_interval[emotion] = metrics.wilson_interval(
                int(right[of_it].sum()), int(of_it.sum())
            )
    return score


def _gap(column: str, known: Sequence[GroupScore]) -> Gap:
    best = max(known, key=lambda group: group.accuracy or 0.0)
    worst = min(known, key=lambda group: group.accuracy or 0.0)
    pairs = len(known) * (len(known) - 1) / 2
    interval = metrics.difference_interval(
        (round((best.accuracy or 0.0) * best.n), best.n),
        (round((worst.accuracy or 0.0) * worst.n), worst.n),
        1 - 0.05 / pairs,
    )
    return Gap(
        column=column,
        best=best.group,
        worst=worst.group,
        difference=(best.accuracy or 0.0) - (worst.accuracy or 0.0),
        interval=interval,
    )
