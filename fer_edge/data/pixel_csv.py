"""FER2013 as csv: one face a line, its pixels as decimal numbers."""

import csv
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from fer_edge.contract import SIZES, Contract
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.hold_out import choose_held_out
from fer_edge.data.labels import SPLITS, USAGES, Split, emotion_label, is_other, split_name
from fer_edge.data.numbering import NUMBERINGS, Numbering, is_number, named
from fer_edge.data.sources import CSV_NAMES, Source
from fer_edge.data.text import decode, fields, read_lines, sniff, split_lines
from fer_edge.errors import DataError
from fer_edge.pixels.crops import to_face

COLUMNS = ("emotion", "pixels")
_USAGE = "usage"
_AGAIN = "Get the file again, or mend that line."
_PIXELS = {str(value): value for value in range(256)}
_LINES_PER_REPORT = 100
_HEAD_BYTES = 4096
_LIMIT = threading.RLock()
_LONGEST_FIELD = len("255.0, ") * SIZES[1] ** 2


def find_csv(source: Source) -> str | None:
    """Return the csv of faces in a source: one of FER2013's names, else the one with its columns.

    Raises
    ------
    DataError
        There are several others.
    """
    if source.csv is not None:
        return source.csv
    found = [name for name in source.members if _holds_faces(source, name)]
    if len(found) > 1:
        raise DataError(
            f"{source.path} holds several csv files with faces: {', '.join(found)}.",
            hint="Give one of them.",
        )
    return found[0] if found else None


def _holds_faces(source: Source, member: str) -> bool:
    """Tell by its header; what cannot be read may be anything, and is no such file."""
    if not member.lower().endswith((".csv", ".tsv")):
        return False
    try:
        with source.open(member) as stream:
            header = split_lines(decode(stream.read(_HEAD_BYTES)))[0]
    except DataError:
        return False
    names = {name.strip().lower() for name in fields(header, sniff(header, COLUMNS))}
    return names.issuperset(COLUMNS)


def read_csv(
    stream: BinaryIO,
    where: str,
    size: int,
    progress: Callable[[int, int], None] | None = None,
    numbering: Numbering | None = None,
    extra: tuple[str, ...] = (),
    shared: bool = False,
) -> tuple[dict[Split, FaceDataset], dict[str, int]]:
    """Read ``fer2013.csv``, ``icml_face_data.csv`` or what has their columns.

    Fields are separated by comma, semicolon, tab or ``|``. An emotion is a number or a name. Faces
    are squares of 24 to 260 pixels a side, all of one size: 48x48 in FER2013.
    Without a column Usage, as in the challenge's ``train.csv``, a tenth of every emotion is val,
    and one test.

    Parameters
    ----------
    stream : binary file
    where : str
        Name of the file in messages.
    size : int
        Length of the file in bytes.
    progress : callable, optional
        Called with bytes read and ``size``.
    numbering : Numbering, optional
        What the numbers mean; by default FER2013's 0..6.
    extra : tuple of str
        Labels to keep beside the seven emotions, after which they count.
    shared : bool
        The numbering is said of several data sets together: refuse it where the file may as well be
        FER2013's.

    Returns
    -------
    dict of Split to FaceDataset
        Splits without faces are left out; faces keep the order of the file.
    dict of str to int
        Faces left out per label that is none of the seven emotions, lower case.

    Raises
    ------
    DataError
        A header or a line that is not as in FER2013; the message names the line. Or numbers that
        may have another meaning than ``numbering`` gives them.
    """
    faces: list[bytes] = []
    labels: list[int] = []
    splits: list[Split | None] = []
    names: list[str] = []
    dropped: Counter[str] = Counter()
    kinds: set[tuple[str, str | None]] = set()
    rows = read_columns(stream, where, COLUMNS, size, progress, optional=_USAGE)
    for line, (emotion, pixels, usage) in rows:
        kinds.add((emotion, usage))
        split = None if usage is None else split_name(usage)
        if usage is not None and split is None:
            raise DataError(
                f"{where}, line {line}: Usage is {shorten(usage)}, not Training, PublicTest or "
                "PrivateTest.",
                hint=_AGAIN,
            )
        name = named(emotion, numbering or NUMBERINGS["fer2013"])
        label = emotion_label(name, extra)
        if label is None:
            if is_other(name):
                dropped[name.strip().lower()] += 1
                continue
            raise DataError(
                f"{where}, line {line}: emotion is {shorten(emotion)}, not a label 0..6.",
                hint=f"{_AGAIN} Other numbers have a meaning with --labels ckextended, or "
                "0=angry,1=disgust and so on.",
            )
        face = _parse_pixels(pixels, where, line)
        # A line that is cut short may end at another square, so one size holds for the file.
        if faces and len(face) != len(faces[0]):
            raise DataError(
                f"{where}, line {line}: {len(face)} pixels instead of {len(faces[0])}, which the "
                "lines before have.",
                hint=_AGAIN,
            )
        faces.append(face)
        labels.append(label)
        splits.append(split)
        names.append(f"line {line}")
    if shared and numbering is not None and _may_be_fer2013(kinds, numbering):
        raise DataError(
            f"{where} looks like FER2013's csv, whose numbers have a meaning of their own, and "
            "--labels gives them another.",
            hint=f"Call the file {CSV_NAMES[0]} if it is FER2013's; else write names of emotions "
            "in the place of its numbers.",
        )
    return _datasets(faces, labels, _with_splits(splits, names, labels), names), dict(dropped)


def _may_be_fer2013(kinds: set[tuple[str, str | None]], numbering: Numbering) -> bool:
    """Tell whether all that a csv says is FER2013's, and would mean something else there.

    ``kinds`` are all pairs of emotion and Usage.
    """
    own = NUMBERINGS["fer2013"]
    numbers = {named(emotion, own) for emotion, _ in kinds}
    return (
        all(usage is not None and usage.strip().lower() in USAGES for _, usage in kinds)
        and all(is_number(emotion) for emotion, _ in kinds)
        and not any(map(is_number, numbers))
        and any(
            emotion_label(named(emotion, numbering)) != emotion_label(named(emotion, own))
            for emotion, _ in kinds
        )
    )


def _with_splits(splits: list[Split | None], names: list[str], labels: list[int]) -> list[Split]:
    if None not in splits:
        return [split or "train" for split in splits]
    test = choose_held_out(names, labels)
    rest = [i for i in range(len(names)) if i not in test]
    val = choose_held_out([names[i] for i in rest], [labels[i] for i in rest])
    held = {rest[i] for i in val}
    return ["test" if i in test else "val" if i in held else "train" for i in range(len(names))]


def _datasets(
    faces: list[bytes], labels: list[int], splits: list[Split], names: list[str]
) -> dict[Split, FaceDataset]:
    datasets: dict[Split, FaceDataset] = {}
    for split in SPLITS:
        if chosen := [i for i, one in enumerate(splits) if one == split]:
            pixels = b"".join(faces[i] for i in chosen)
            side = math.isqrt(len(faces[0]))
            datasets[split] = FaceDataset.from_arrays(
                np.frombuffer(pixels, np.uint8).reshape(-1, side, side),
                np.array([labels[i] for i in chosen], np.int64),
                split,
                names=np.array([names[i] for i in chosen]),
            )
    return datasets


def fit_faces(data: FaceDataset, contract: Contract) -> FaceDataset:
    """The same gray faces at the size and in the colour of a model."""
    if data.faces.shape[1:] == contract.crop_shape:
        return data
    from PIL import Image as Pillow

    faces = np.empty((len(data), *contract.crop_shape), np.uint8)
    for place, face in enumerate(data.faces):
        faces[place] = to_face(Pillow.fromarray(face), contract)
    return FaceDataset.from_arrays(faces, data.labels, data.split, names=data.names)


def read_columns(
    stream: BinaryIO,
    where: str,
    columns: tuple[str, ...],
    size: int = 0,
    progress: Callable[[int, int], None] | None = None,
    *,
    optional: str | None = None,
) -> Iterator[tuple[int, list[Any]]]:
    """Yield line number, from 1, and the fields of ``columns`` for every line of a csv.

    The field of a column that may be missing, ``optional``, comes last: None where it is.

    Raises
    ------
    DataError
        Not text, a header without one of ``columns`` (lower case), or a short line.
    """
    line = 0

    def lines() -> Iterator[str]:
        nonlocal line
        for line, (done, text) in enumerate(read_lines(stream), 1):
            if progress is not None and (line % _LINES_PER_REPORT == 0 or done == size):
                progress(done, size)
            yield text

    text = lines()
    try:
        first = next(text, "")
        delimiter = sniff(first, columns)
        header = [name.strip().lower() for name in fields(first, delimiter)]
        missing = [name for name in columns if name not in header]
        if missing:
            raise DataError(
                f"{where}, line 1: the header has no column {', '.join(missing)}.",
                hint=f"It must name the columns {', '.join(columns)}"
                + (f", and perhaps {optional}." if optional else "."),
            )
        places = [header.index(name) for name in columns]
        last = header.index(optional) if optional in header else None
        for row in _rows(text, delimiter):
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{where}, line {line}: {len(row)} fields instead of {len(header)}.",
                    hint=_AGAIN,
                )
            found: list[Any] = [row[place] for place in places]
            if optional is not None:
                found.append(None if last is None else row[last])
            yield line, found
    except (UnicodeDecodeError, csv.Error) as error:
        bad = line + isinstance(error, UnicodeDecodeError)  # which the line does not count yet
        raise DataError(f"{where}, line {bad}: not csv text ({error}).", hint=_AGAIN) from error


def _rows(text: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    """The rows of a csv, whose fields may be as long as a face of 260x260.

    What csv takes by default is shorter, and the limit is the process's: it is raised for one row
    at a time, so that a reader which nobody reads to the end leaves it as it was.
    """
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        with _LIMIT:
            limit = csv.field_size_limit()
            csv.field_size_limit(max(limit, _LONGEST_FIELD))
            try:
                row = next(reader, None)
            finally:
                csv.field_size_limit(limit)
        if row is None:
            return
        yield row


def shorten(text: str) -> str:
    """Quote ``text`` for a one-line message."""
    return repr(text if len(text) <= 20 else text[:20] + "…")


def _parse_pixels(text: str, where: str, line: int) -> bytes:
    # A table of the 256 legal spellings checks and converts in one go, faster than np.fromstring.
    values = text.split()
    try:
        face = bytes(map(_PIXELS.__getitem__, values))
    except KeyError:
        # As numpy or pandas print them: [70, 80] and 70.0 80.0.
        values = [v.removesuffix(".0") for v in text.strip("[]() ").replace(",", " ").split()]
        wrong = [i for i, value in enumerate(values) if value not in _PIXELS]
        if wrong:
            raise DataError(
                f"{where}, line {line}: pixel {wrong[0] + 1} is {shorten(values[wrong[0]])}, "
                "not 0..255.",
                hint=_AGAIN,
            ) from None
        face = bytes(map(_PIXELS.__getitem__, values))
    side = math.isqrt(len(face))
    if side * side != len(face) or not SIZES[0] <= side <= SIZES[1]:
        raise DataError(
            f"{where}, line {line}: {len(face)} pixels instead of 2304 (48x48), or of another "
            f"square of {SIZES[0]} to {SIZES[1]} a side.",
            hint=_AGAIN,
        )
    return face
