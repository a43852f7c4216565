"""The photos and videos that folders, globs and lists mean."""

import glob
import io
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from fer_edge.errors import CaptureError, UsageError
from fer_edge.files import storage_errors
from fer_edge.pixels.image_file import SUFFIXES

VIDEO_SUFFIXES: Final = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    }
)
"""Endings of files taken for videos where a folder has them, lower case."""
LIST_SUFFIXES: Final = frozenset({".list", ".lst", ".txt"})
"""Endings of files whose lines are paths."""
STANDARD_INPUT: Final = "-"

_LITTER = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Found:
    """A photo or video; what tells that it has changed comes with it."""

    path: str
    """Absolute, as workers elsewhere open it."""
    size: int
    """In bytes; 0 where it is not there."""
    changed: int
    """When it was written last, in ns since 1970."""

    @property
    def is_photo(self) -> bool:
        """Whether its name ends as an image's; all else is tried as a video."""
        return os.path.splitext(self.path)[1].lower() in SUFFIXES  # noqa: PTH122, of millions


@dataclass(frozen=True)
class Listing:
    """What there is to analyze."""

    files: list[Found]
    """In the order of their paths, each once."""
    skipped: dict[str, int]
    """How much else the folders have, per ending."""


def list_files(what: Sequence[str], without: Path | None = None) -> Listing:
    """Find the photos and videos that arguments mean.

    A folder means all photos and videos below it, by their endings; hidden files and folders are
    passed over. A file that ends in .txt, .lst or .list, or ``-`` (standard input), has a path in
    each line: relative ones are relative to the folder of the list, or to the working folder.
    Anything else is a photo or video, or a glob (``**`` for any depth) of such and of folders.
    What a list or an argument names and is not there becomes an error row, not the end.

    Parameters
    ----------
    what : sequence of str
        Folders, globs, lists and files.
    without : Path, optional
        Folder that is passed over: the one that is written to.

    Raises
    ------
    CaptureError
        There is no such folder or file, or nothing that matches a glob, or no photo or video in
        all.
    StorageError
        A folder or list cannot be read.
    UsageError
        No argument.
    """
    if not what:
        raise UsageError("There is nothing to analyze.", hint="Give a folder, a list or files.")
    skipped: Counter[str] = Counter()
    excluded = None if without is None else os.path.abspath(without)  # noqa: PTH100, keeps links
    found: dict[str, Found] = {}
    for argument in what:
        for one in _meant(argument, skipped, excluded):
            found[one.path] = one
    if not found:
        others = ", ".join(f"{count:,} {kind}" for kind, count in sorted(skipped.items()))
        raise CaptureError(
            f"{' '.join(what)}: there are no photos or videos"
            f"{f' (but {others})' if others else ''}.",
            hint="Name files of other endings in a list: find … > files.txt",
        )
    return Listing([found[path] for path in sorted(found)], dict(sorted(skipped.items())))


def _meant(argument: str, skipped: Counter[str], excluded: str | None) -> Iterator[Found]:
    # Names of files are bytes, whatever the locale says of them.
    if argument == STANDARD_INPUT:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")
        yield from _listed(sys.stdin, Path.cwd())
        return
    path = Path(argument).expanduser()
    if path.is_dir():
        yield from _below(path, skipped, excluded)
    elif path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        with (
            storage_errors(path),
            path.open(encoding="utf-8", errors="surrogateescape") as lines,
        ):
            yield from _listed(lines, path.parent)
    elif path.exists():
        yield _found(str(path))
    elif glob.has_magic(argument):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207, of any root
        if not matches:
            raise CaptureError(f"Nothing matches {argument}.", hint="Check the pattern.")
        for match in matches:
            if Path(match).is_dir():
                yield from _below(Path(match), skipped, excluded)
            else:
                yield from _by_ending([match], skipped)
    else:
        raise CaptureError(f"There is no file or folder {argument}.", hint="Check the path.")


def _listed(lines: TextIO | Iterable[str], folder: Path) -> Iterator[Found]:
    for index, line in enumerate(lines):
        # Editors and shells of Windows begin a file with a byte order mark.
        if name := (line if index else line.removeprefix("\ufeff")).rstrip("\r\n"):
            yield _found(str(folder / name))


def _below(folder: Path, skipped: Counter[str], excluded: str | None) -> Iterator[Found]:
    def tell(error: OSError) -> None:
        raise error

    with storage_errors(folder):
        for parent, folders, names in os.walk(folder, onerror=tell):
            folders[:] = [
                name
                for name in folders
                if name[0] != "." and os.path.abspath(os.path.join(parent, name)) != excluded  # noqa: PTH100, PTH118
            ]
            yield from _by_ending(
                (
                    os.path.join(parent, name)  # noqa: PTH118, of millions
                    for name in names
                    if name[0] != "." and name.lower() not in _LITTER
                ),
                skipped,
            )


def _by_ending(paths: Iterable[str], skipped: Counter[str]) -> Iterator[Found]:
    for path in paths:
        ending = os.path.splitext(path)[1].lower()  # noqa: PTH122, of millions
        if ending in SUFFIXES or ending in VIDEO_SUFFIXES:
            yield _found(path)
        else:
            skipped[ending or "without ending"] += 1


def _found(path: str) -> Found:
    absolute = os.path.abspath(path)  # noqa: PTH100, keeps links
    try:
        facts = os.stat(absolute)  # noqa: PTH116, of millions
    except (OSError, ValueError):
        return Found(absolute, 0, 0)
    # A pipe or device is no file: opening it might wait for ever. It is told as not readable.
    return Found(absolute, facts.st_size if stat.S_ISREG(facts.st_mode) else 0, facts.st_mtime_ns)
