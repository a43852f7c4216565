"""FER2013 as csv: one face a line, its pixels as decimal numbers."""

import csv
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from fer_edge.contract import EMOTIONS, FACE_SIZE
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.labels import SPLITS, USAGES, Split
from fer_edge.errors import DataError

COLUMNS = ("emotion", "pixels", "usage")
_AGAIN = "Get the file again, or mend that line."
_LABELS = {str(label): label for label in range(len(EMOTIONS))}
_PIXELS = {str(value): value for value in range(256)}
_LINES_PER_REPORT = 100


def read_csv(
    stream: BinaryIO,
    where: str,
    size: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Split, FaceDataset]:
    """Read ``fer2013.csv`` or ``icml_face_data.csv``.

    Parameters
    ----------
    stream : binary file
    where : str
        Name of the file in messages.
    size : int
        Length of the file in bytes.
    progress : callable, optional
        Called with bytes read and ``size``.

    Returns
    -------
    dict of Split to FaceDataset
        Splits without faces are left out; faces keep the order of the file.

    Raises
    ------
    DataError
        A header or a line that is not as in FER2013; the message names the line.
    """
    faces: dict[Split, list[bytes]] = {split: [] for split in SPLITS}
    labels: dict[Split, list[int]] = {split: [] for split in SPLITS}
    names: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for line, (emotion, pixels, usage) in read_columns(stream, where, COLUMNS, size, progress):
        split = USAGES.get(usage.strip().lower())
        if split is None:
            raise DataError(
                f"{where}, line {line}: Usage is {shorten(usage)}, not Training, PublicTest or "
                "PrivateTest.",
                hint=_AGAIN,
            )
        label = _LABELS.get(emotion.strip())
        if label is None:
            raise DataError(
                f"{where}, line {line}: emotion is {shorten(emotion)}, not a label 0..6.",
                hint=_AGAIN,
            )
        faces[split].append(_parse_pixels(pixels, where, line))
        labels[split].append(label)
        names[split].append(f"line {line}")
    return {
        split: FaceDataset.from_arrays(
            np.frombuffer(b"".join(faces.pop(split)), np.uint8).reshape(-1, FACE_SIZE, FACE_SIZE),
            np.array(labels[split], np.int64),
            split,
            names=np.array(names[split]),
        )
        for split in SPLITS
        if labels[split]
    }


def read_columns(
    stream: BinaryIO,
    where: str,
    columns: tuple[str, ...],
    size: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Yield line number, from 1, and the fields of ``columns`` for every line of a csv.

    Raises
    ------
    DataError
        Not text, a header without one of ``columns`` (lower case), or a short line.
    """
    done = 0
    line = 0

    def lines() -> Iterator[str]:
        nonlocal done, line
        for line, raw in enumerate(stream, 1):
            done += len(raw)
            if progress is not None and (line % _LINES_PER_REPORT == 0 or done == size):
                progress(done, size)
            yield raw.decode("utf-8-sig" if line == 1 else "utf-8")

    reader = csv.reader(lines())
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise DataError(
                f"{where}, line 1: the header has no column {', '.join(missing)}.",
                hint=f"It must name the columns {', '.join(columns)}.",
            )
        places = [header.index(name) for name in columns]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{where}, line {line}: {len(row)} fields instead of {len(header)}.",
                    hint=_AGAIN,
                )
            yield line, [row[place] for place in places]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}, line {line}: not csv text ({error}).", hint=_AGAIN) from error


def shorten(text: str) -> str:
    """Quote ``text`` for a one-line message."""
    return repr(text if len(text) <= 20 else text[:20] + "…")


def _parse_pixels(text: str, where: str, line: int) -> bytes:
    # A table of the 256 legal spellings checks and converts in one go, faster than np.fromstring.
    values = text.split()
    try:
        face = bytes(map(_PIXELS.__getitem__, values))
    except KeyError as error:
        place = values.index(error.args[0]) + 1
        raise DataError(
            f"{where}, line {line}: pixel {place} is {shorten(error.args[0])}, not 0..255.",
            hint=_AGAIN,
        ) from None
    if len(face) != FACE_SIZE * FACE_SIZE:
        raise DataError(
            f"{where}, line {line}: {len(face)} pixels instead of {FACE_SIZE * FACE_SIZE}.",
            hint=_AGAIN,
        )
    return face
