"""The faces that a model gets most wrong, on one sheet."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fer_edge.contract import EMOTIONS, FACE_SIZE
from fer_edge.data import FaceDataset
from fer_edge.engines.base import Probabilities
from fer_edge.files import atomic_path

COLUMNS = 8

# All in pixels.
_SIDE = 3 * FACE_SIZE
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
    probabilities : float32 array, shape (N, 7)
        Of the faces of ``dataset``.
    target : Path

    Raises
    ------
    StorageError
        ``target`` cannot be written.
    """
    counts = dataset.counts()
    rows = [index for index, emotion in enumerate(EMOTIONS) if counts[emotion]]
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
    draw.text(
        (_MARGIN, _MARGIN),
        "The faces with the lowest probability for their label",
        _INK,
        large,
    )
    predicted = probabilities.argmax(axis=1)
    for row, index in enumerate(rows):
        emotion = EMOTIONS[index]
        y = _MARGIN + _TITLE + row * height
        own = dataset.labels == index
        wrong = int((predicted[own] != index).sum())
        draw.text((_MARGIN, y), emotion, _INK, large)
        draw.text((_MARGIN, y + 40), f"{wrong} of {counts[emotion]}\nwrong", _FADED, medium)
        for column, face in enumerate(worst_faces(probabilities, dataset.labels, index)):
            x = _MARGIN + _HEADING + column * (_SIDE + _GAP)
            picture = Image.fromarray(np.asarray(dataset.faces[face]))
            sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), (x, y))
            said = predicted[face]
            lines = (
                (f"{EMOTIONS[said]} {100 * probabilities[face, said]:.0f} %", _INK, medium),
                (f"{emotion} {100 * probabilities[face, index]:.1f} %", _FADED, small),
            )
            for line, (text, colour, font) in enumerate(lines):
                draw.text((x, y + _SIDE + 6 + 23 * line), text, colour, font)
    with atomic_path(target) as temporary:
        sheet.save(temporary)
