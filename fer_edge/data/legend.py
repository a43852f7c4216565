"""Images with a legend: a csv that names every image and its emotion."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from fer_edge.contract import EMOTIONS
from fer_edge.data.image_folder import holds_emotion_folders
from fer_edge.data.labels import Split, emotion_label, split_name, split_of_file
from fer_edge.data.listing import Entry, Listing, best_matches, images_by_name
from fer_edge.data.numbering import NUMBERINGS, Numbering, named
from fer_edge.data.pixel_csv import shorten
from fer_edge.data.sources import Source
from fer_edge.data.text import DELIMITERS, decode, fields, sniff, split_lines
from fer_edge.errors import DataError

# In a header with several of them the first in this order counts.
IMAGE_COLUMNS = (
    *("image", "imagename", "imagepath", "imagefile", "filename", "filepath", "file", "path"),
    *("photo", "picture", "img", "name", "pth", "subdirectoryfilepath"),
)
EMOTION_COLUMNS = ("emotion", "expression", "label", "class", "category")
SPLIT_COLUMNS = ("usage", "split", "subset", "partition")
_HEADER_BYTES = 4096
_SHOWN = 5


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
    label: int = -1
    """Once it is known."""


def find_legend(
    source: Source, numbering: Numbering | None = None, extra: tuple[str, ...] = ()
) -> Listing | None:
    """List the images that csv files name; faces are found and cut out of photos.

    A source whose images lie in ``<split>/<emotion>/`` needs no legend and is taken to have none.
    Several legends are read as one where the names of all tell a split, as of ``train_labels.csv``.

    Raises
    ------
    DataError
        There are several others, or as :func:`list_images` raises.
    """
    found = [name for name in source.members if is_legend(source, name)]
    if not found or holds_emotion_folders(source, numbering):
        return None
    if len(found) > 1 and not all(map(split_of_file, found)):
        raise DataError(
            f"{source.path} holds several csv files that name images: {', '.join(found)}.",
            hint="Give a folder with one of them and its images, or begin their names with train, "
            "val and test.",
        )
    return list_images(source, found, numbering, extra)


def is_legend(source: Source, member: str) -> bool:
    """Tell by its header whether a member is a csv that names images and their emotions."""
    header = _header_line(source, member)
    return header is not None and _parse_header(header) is not None


def tell_columns(source: Source) -> str | None:
    """Say what the first csv of a source would need to be a legend; None where there is none."""
    for member in source.members:
        header = _header_line(source, member)
        if header:
            names = [name.strip() for name in fields(header, sniff(header, [*EMOTION_COLUMNS]))]
            return (
                f"{member} has the columns {', '.join(map(shorten, names[:_SHOWN]))}"
                f"{' …' if len(names) > _SHOWN else ''}, and a csv that names images has one of "
                f"{', '.join(IMAGE_COLUMNS)} and one of {', '.join(EMOTION_COLUMNS)}"
            )
    return None


def _header_line(source: Source, member: str) -> str | None:
    """The first line of a csv; None of what is none, or cannot be read: it may be anything."""
    if not member.lower().endswith((".csv", ".tsv")):
        return None
    try:
        with source.open(member) as stream:
            return split_lines(decode(stream.read(_HEADER_BYTES)))[0]
    except DataError:
        return None


def list_images(
    source: Source,
    legends: Sequence[str],
    numbering: Numbering | None = None,
    extra: tuple[str, ...] = (),
) -> Listing:
    """List the images that csv files name.

    The header names a column of images, one of emotions, and perhaps one of splits, in any case
    (``IMAGE_COLUMNS``, ``EMOTION_COLUMNS``, ``SPLIT_COLUMNS``; spaces and punctuation do not
    count). Fields are separated by comma, semicolon, tab or ``|``; text is UTF-8, UTF-16 or
    Latin-1. An image is looked for beside the csv first, then wherever the end of its path agrees
    best with the name. Emotions are spelled as in ``fer_edge.emotions.SPELLINGS``, or are
    numbers of ``numbering``; lines with another label are dropped and counted. An image named
    twice counts once. All are ``train`` where neither a column nor the csv's name tells a split.

    Raises
    ------
    DataError
        A line with too few or too many fields or an unknown split, an image that is missing, named
        ambiguously or with two labels, or no line with a known emotion.
    """
    dropped: Counter[str] = Counter()
    entries: dict[str, Entry] = {}
    for legend in legends:
        by_name = split_of_file(legend) if len(legends) > 1 else None
        lines = _known(source, legend, by_name or "train", numbering, extra, dropped)
        for member, line in _locate(source, legend, lines).items():
            entries.setdefault(member, Entry(member, line.label, line.split))
    if not entries:
        where = ", ".join(source.where(legend) for legend in legends)
        have = ", ".join(shorten(label) for label in list(dropped)[:_SHOWN])
        raise DataError(
            f"{where} has no line with a known emotion"
            + (f"; its labels are {have}{' …' if len(dropped) > _SHOWN else ''}." if have else "."),
            hint=f"Write {', '.join(EMOTIONS)}. What numbers mean, say with --labels "
            f"{', '.join(NUMBERINGS)}, or 0=angry,1=disgust and so on.",
        )
    return Listing(list(entries.values()), dict(dropped), photos=True, hold_out=False)


def _known(
    source: Source,
    legend: str,
    by_name: Split,
    numbering: Numbering | None,
    extra: tuple[str, ...],
    dropped: Counter[str],
) -> list[_Line]:
    """Return the lines with one of the seven emotions; count the others per label."""
    lines: list[_Line] = []
    for line in _read_lines(source, legend, by_name):
        name = named(line.emotion, numbering)
        label = emotion_label(name, extra)
        if label is None:
            dropped[name.strip().lower() or "no label"] += 1
        else:
            lines.append(line._replace(label=label))
    return lines


def _read_lines(source: Source, legend: str, by_name: Split) -> Iterator[_Line]:
    where = source.where(legend)
    with source.open(legend) as stream:
        text = decode(stream.read())
    header = _parse_header(split_lines(text)[0])
    if header is None:  # cut off in the header that is_legend saw the start of
        raise DataError(f"{where}, line 1: the header is too long.", hint="Mend that line.")
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
            usage = by_name if header.split is None else row[header.split]
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
    paths = images_by_name(source)
    images: dict[str, _Line] = {}
    missing: list[_Line] = []
    for line in lines:
        name = PurePosixPath(line.image.strip().replace("\\", "/"))
        found = best_matches(name, PurePosixPath(legend).parent, paths.get(name.name, []))
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
        if (first.label, first.split) != (line.label, line.split):
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


def _parse_header(line: str) -> _Header | None:
    for delimiter in DELIMITERS:
        names = ["".join(filter(str.isalnum, name)).lower() for name in fields(line, delimiter)]
        image, emotion, split = (
            next((names.index(name) for name in columns if name in names), None)
            for columns in (IMAGE_COLUMNS, EMOTION_COLUMNS, SPLIT_COLUMNS)
        )
        if image is not None and emotion is not None and "pixels" not in names:
            return _Header(delimiter, len(names), image, emotion, split)
    return None
