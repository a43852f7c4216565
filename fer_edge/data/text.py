"""Text files of others: any line ends, the encodings that spreadsheets write, four delimiters."""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

DELIMITERS: Final = ",;\t|"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ENDS = re.compile(r"\r\n|\r|\n")


def decode(data: bytes) -> str:
    """Decode UTF-8 or UTF-16 with or without a mark at its start, or else Latin-1."""
    if data.startswith(_UTF16):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def split_lines(text: str) -> list[str]:
    """Split at line ends of Unix, Windows and the old Mac, and at nothing else."""
    return _ENDS.split(text)


def read_lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 or UTF-16 file, each ended by a newline, with the bytes of it.

    The number counts the bytes read so far.

    Raises
    ------
    UnicodeDecodeError
        A line is not UTF-8.
    """
    done = 0
    for count, raw in enumerate(stream):
        if not count and raw.startswith(_UTF16):
            rest = raw + stream.read()
            for line in split_lines(rest.decode("utf-16")):
                yield len(rest), line + "\n"
            return
        done += len(raw)
        for part in raw.splitlines() or [b""]:
            yield done, part.decode("utf-8-sig" if not count else "utf-8") + "\n"


def fields(line: str, delimiter: str) -> list[str]:
    """The fields of one line of a csv; none where it is no csv."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def sniff(header: str, wanted: Sequence[str]) -> str:
    """The delimiter with which ``header`` names most of ``wanted`` (lower case), or most at all."""

    def named(delimiter: str) -> tuple[int, int]:
        names = {name.strip().lower() for name in fields(header, delimiter)}
        return sum(name in names for name in wanted), len(names)

    return max(DELIMITERS, key=named)
