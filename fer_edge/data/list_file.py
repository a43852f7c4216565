"""Images with a list: a text file without header that names images and numbers of emotions.

RAF-DB has ``list_patition_label.txt`` (name, emotion), ExpW ``label.lst`` (name, number of the
face, top, left, right and bottom of its box, confidence, emotion).
"""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from fer_edge.data.labels import emotion_label, is_other, split_of_file
from fer_edge.data.listing import Entry, Listing, best_matches, images_by_name
from fer_edge.data.numbering import NUMBERINGS, Numbering, is_number, named
from fer_edge.data.pixel_csv import shorten
from fer_edge.data.sources import Source
from fer_edge.data.text import decode, split_lines
from fer_edge.errors import DataError
from fer_edge.pixels.boxes import Box

_SUFFIXES = (".lst", ".txt", ".list")
_HEAD_BYTES = 4096
_LARGE = 20_000
"""Pixels; no box is larger."""
_IMAGE = r"(?P<image>\S(?:.*\S)?\.(?:jpe?g|png|bmp|tiff?))"


class _Kind(NamedTuple):
    line: re.Pattern[str]
    file: re.Pattern[str]
    """Name of the file where its numbers are ``numbering``."""
    numbering: str
    shape: str
    """A line, for messages."""


_KINDS = (
    _Kind(
        re.compile(
            _IMAGE + r"\s+(?P<face>\d+)\s+(?P<top>-?\d+)\s+(?P<left>-?\d+)\s+(?P<right>-?\d+)\s+"
            r"(?P<bottom>-?\d+)\s+[-+.eE\d]+\s+(?P<emotion>\w+)",
            re.I,
        ),
        re.compile(r"label.*\.lst", re.I),
        "expw",
        "an image, eight fields in all",
    ),
    _Kind(
        re.compile(_IMAGE + r"[\s,;]+(?P<emotion>\w+)", re.I),
        re.compile(r"list_par?tition_label.*\.txt", re.I),
        "raf-db",
        "an image and its emotion",
    ),
)


def find_list(
    source: Source, numbering: Numbering | None = None, extra: tuple[str, ...] = ()
) -> Listing | None:
    """List the images that a text file names; None where there is no such file.

    Of an image that is there as ``NAME_aligned`` too, that one is taken, and is a face; otherwise
    faces are found and cut out, where no box tells them. Names that begin with train or test tell
    the split. A box without an area counts as none.

    Raises
    ------
    DataError
        Several such files, a line of another form, numbers without a meaning, an image that is
        missing, or no emotion that is known.
    """
    found = [(name, kind) for name in source.members if (kind := _kind(source, name))]
    if not found:
        return None
    if len(found) > 1:
        raise DataError(
            f"{source.path} holds several lists of images: {', '.join(name for name, _ in found)}.",
            hint="Give a folder with one of them and its images.",
        )
    return _read(source, *found[0], numbering, extra)


def _kind(source: Source, member: str) -> _Kind | None:
    """What kind of list a file is, by its first line; whatever else it may be is none."""
    if not member.lower().endswith(_SUFFIXES):
        return None
    try:
        with source.open(member) as stream:
            line = split_lines(decode(stream.read(_HEAD_BYTES)))[0].strip()
    except DataError:
        return None
    return next((kind for kind in _KINDS if kind.line.fullmatch(line)), None)


def _read(
    source: Source,
    member: str,
    kind: _Kind,
    numbering: Numbering | None,
    extra: tuple[str, ...],
) -> Listing:
    where = source.where(member)
    if numbering is None and kind.file.fullmatch(PurePosixPath(member).name):
        numbering = NUMBERINGS[kind.numbering]
    with source.open(member) as stream:
        lines = split_lines(decode(stream.read()))
    locate = _locator(source, member)
    entries: list[Entry] = []
    dropped: Counter[str] = Counter()
    missing: list[tuple[int, str]] = []
    photos = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = kind.line.fullmatch(line.strip())
        if match is None:
            raise DataError(
                f"{where}, line {number}: {shorten(line)} is not {kind.shape}.",
                hint="Mend that line.",
            )
        name = named(match["emotion"], numbering)
        label = emotion_label(name, extra)
        if label is None:
            if is_number(name):
                raise DataError(
                    f"{where}, line {number}: nothing tells what emotion {name} is.",
                    hint=f"Say it: --labels {', '.join(NUMBERINGS)}, or 0=angry,1=disgust "
                    "and so on.",
                )
            if not is_other(name):
                raise DataError(
                    f"{where}, line {number}: {shorten(name)} is no emotion.", hint="Mend it."
                )
            dropped[name.lower()] += 1
            continue
        image = locate(match["image"])
        if image is None:
            missing.append((number, match["image"]))
            continue
        box = _box(match)
        aligned = PurePosixPath(image).stem.endswith("_aligned")
        photos |= not aligned and box is None
        entries.append(
            Entry(
                image,
                label,
                split_of_file(image),
                box,
                f"{image}#{match['face']}" if box else "",
            )
        )
    if missing:
        raise DataError(
            f"{where} names {len(missing):,} images that are not there, the first in line "
            f"{missing[0][0]}: {shorten(missing[0][1])}.",
            hint="Get the data set again, or remove these lines.",
        )
    if not entries:
        raise DataError(f"{where} names no image with a known emotion.", hint="Get it again.")
    return Listing(entries, dict(dropped), photos=photos)


def _locator(source: Source, member: str) -> Callable[[str], str | None]:
    paths = images_by_name(source)
    folder = PurePosixPath(member).parent

    def locate(name: str) -> str | None:
        path = PurePosixPath(name.replace("\\", "/"))
        for wanted in (f"{path.stem}_aligned{path.suffix}", path.name):
            if found := best_matches(path.with_name(wanted), folder, paths.get(wanted, [])):
                return str(found[0])
        return None

    return locate


def _box(match: re.Match[str]) -> Box | None:
    """The box that a line tells; None where it tells none, or one without an area."""
    if "top" not in match.groupdict():
        return None
    top, left, right, bottom = (float(match[side]) for side in ("top", "left", "right", "bottom"))
    if not (0 < right - left < _LARGE and 0 < bottom - top < _LARGE):
        return None
    return Box(left, top, right - left, bottom - top)
