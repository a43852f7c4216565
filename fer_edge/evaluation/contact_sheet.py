"""Faces on one sheet: those that a model gets most wrong, those that a precision changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fer_edge.artifact import Score
from fer_edge.contract import Precision
from fer_edge.data import FaceDataset
from fer_edge.engines.base import Probabilities
from fer_edge.files import atomic_path
from fer_edge.pixels.crops import to_picture

COLUMNS = 8

# All in pixels.
_SIDE = 144
_GAP = 20
_CAPTION = 52
_HEADING = 160
_MARGIN = 32
_TITLE = 56
_INK = "black"
_FADED = "#666666"


def worst_faces(
    probabilities: Probabilities, labels: NDArray[np.int64], emotion: int, most: int = COLUMNS
) -> NDArray[np.intp]:
    """Indices of the faces of ``emotion`` with the least probability for it, least first."""
    own = np.flatnonzero(labels == emotion)
    return own[np.argsort(probabilities[own, emotion], kind="stable")[:most]]


def draw_worst(dataset: FaceDataset, probabilities: Probabilities, target: Path) -> None:
    """Draw for every emotion its eight :func:`worst_faces` as PNG.

    Under each face stands what the model said, and what it gave the label.

    Parameters
    ----------
    dataset : FaceDataset
    probabilities : float32 array, shape (N, labels)
        Of the faces of ``dataset``.
    target : Path

    Raises
    ------
    StorageError
        ``target`` cannot be written.
    """
    counts = dataset.counts()
    predicted = probabilities.argmax(axis=1)
    rows = []
    for index, emotion in enumerate(dataset.classes):
        if not counts[emotion]:
            continue
        own = dataset.labels == index
        faces = []
        for face in worst_faces(probabilities, dataset.labels, index):
            said = predicted[face]
            faces.append(
                (
                    int(face),
                    f"{dataset.classes[said]} {100 * probabilities[face, said]:.0f} %",
                    f"{emotion} {100 * probabilities[face, index]:.1f} %",
                )
            )
        wrong = int((predicted[own] != index).sum())
        rows.append(_Row(emotion, f"{wrong} of {counts[emotion]}\nwrong", faces))
    _draw(dataset, "The faces with the lowest probability for their label", rows, target)


def draw_changed(dataset: FaceDataset, scores: Mapping[Precision, Score], target: Path) -> None:
    """Draw for every precision the faces that changed label, the largest change first, as PNG.

    Under each face stands what fp32 said and what the precision says, the change of a probability,
    and the label. A precision has at most four rows.

    Parameters
    ----------
    dataset : FaceDataset
        What was scored.
    scores : mapping of precision to Score
        Those without ``changed`` are left out.
    target : Path

    Raises
    ------
    StorageError
        ``target`` cannot be written.
    """
    rows = []
    for precision, score in scores.items():
        if score.changed is None:
            continue
        faces = [
            (
                face.index,
                f"{face.fp32} > {face.now}",
                f"by {100 * face.change:.1f} %, is {face.label}",
            )
            for face in score.changed_faces[: 4 * COLUMNS]
        ]
        note = f"{score.changed:,} of {score.n:,}\nchanged"
        rows.append(_Row(precision, note, faces[:COLUMNS]))
        rows += [
            _Row("", "", faces[start : start + COLUMNS])
            for start in range(COLUMNS, len(faces), COLUMNS)
        ]
    _draw(dataset, "Faces that a lower precision gives another label than fp32", rows, target)


@dataclass(frozen=True)
class _Row:
    heading: str
    note: str
    faces: list[tuple[int, str, str]]
    """Index, and the two lines below."""


def _draw(dataset: FaceDataset, title: str, rows: Sequence[_Row], target: Path) -> None:
    height = _SIDE + _CAPTION + _GAP
    sheet = Image.new(
        "RGB",
        (
            2 * _MARGIN + _HEADING + COLUMNS * (_SIDE + _GAP) - _GAP,
            2 * _MARGIN + _TITLE + len(rows) * height - _GAP,
        ),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    large, medium, small = (ImageFont.load_default(size) for size in (28, 18, 16))
    draw.text((_MARGIN, _MARGIN), title, _INK, large)
    for number, row in enumerate(rows):
        y = _MARGIN + _TITLE + number * height
        draw.text((_MARGIN, y), row.heading, _INK, large)
        draw.text((_MARGIN, y + 40), row.note, _FADED, medium)
        for column, (face, first, second) in enumerate(row.faces):
            x = _MARGIN + _HEADING + column * (_SIDE + _GAP)
            picture = to_picture(np.asarray(dataset.faces[face]))
            sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), (x, y))
            for line, (text, colour, font) in enumerate(
                ((first, _INK, medium), (second, _FADED, small))
            ):
                draw.text((x, y + _SIDE + 6 + 23 * line), text, colour, font)
    with atomic_path(target) as temporary:
        sheet.save(temporary)
