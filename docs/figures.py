"""Figures on pages, and where each is recorded.

A page says in a comment, before the paragraph, table or block of output that has them, where its
figures are from:

    <!-- figures of bench/results/compact.json:
    69.91 = 100 * precisions.fp32.score.accuracy
    -->

Each line, or part of a line before a semicolon, gives a figure as it stands there, and its place
in the file: names and indices, or in a list the value by which an entry is known (``fp32``, or
``64`` of a batch). A factor may stand before it, and what it is divided by behind it.
``<!-- figures of FILE: all -->`` says that every figure of what follows that no other comment has
is somewhere in the file, as it is, in percent or in millions, or, by ``all * 1000``, so many times.
``<!-- figures: 15 20 not measured, REASON -->`` is for limits and what is so by design; without
numbers, it is for all of an example. ``<!-- figures: 15 20 not recorded, REASON -->`` is for what
was measured by hand, once.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_COMMENT = re.compile(r"<!-- figures(?: of (?P<file>\S+?))?:\s*(?P<body>.*?)\s*-->", re.DOTALL)
_LINE = re.compile(
    r"(?P<figure>[\d.,]+) = (?:(?P<factor>[\d.e+-]+) \* )?"
    r"(?P<place>[^/*]+?)(?: / (?P<over>[^/*]+))?"
)
_EXEMPT = re.compile(r"(?P<list>[\d.,\s]*?)\s*not (?:measured|recorded), (?P<why>.+)", re.DOTALL)
_ALL = re.compile(r"all(?: \* (?P<factor>[\d.e+-]+))?")
_UNITS = r"(?:%|ms|s|MB|MiB|GiB|µs|nats|points|times|x|p)(?![\w/])"
FIGURE = re.compile(
    rf"(?<![\w.,/-])(?P<figure>\d{{1,3}}(?:,\d{{3}})+|\d+\.\d+(?=\s?(?:±|{_UNITS}))|\d+(?=\s?{_UNITS})"
    r"|(?<=± )\d+\.\d+)(?![\w,]*\d)"
)
"""A number with thousands, or one with a unit of what is measured."""


@dataclass(frozen=True)
class Source:
    """What a comment says of the block that follows it."""

    file: str | None
    body: str

    @property
    def all(self) -> bool:
        """Whether it is of every figure that no other comment has."""
        return _ALL.fullmatch(self.body) is not None

    def check(self, block: str, told: set[str]) -> tuple[list[str], set[str]]:
        """What is wrong with it, and the figures of the block that it accounts for.

        ``told`` are those that other comments account for.
        """
        if self.file is None:
            match = _EXEMPT.fullmatch(self.body)
            if match is None:
                return [f"neither a file nor a reason: {self.body!r}"], set()
            listed = match["list"].split()
            absent = [
                f"{one} is said not to be recorded, and is not there"
                for one in listed
                if one not in block
            ]
            return absent, set(listed or figures(block))
        record = json.loads((ROOT / self.file).read_text())
        match = _ALL.fullmatch(self.body)
        if match:
            factors = (1, 100, 1e-6, float(match["factor"] or 1))
            known = [value * factor for value in _numbers(record) for factor in factors]
            absent = [
                f"{figure} is nowhere in {self.file}"
                for figure in {*numbers(block), *figures(block)} - told
                if not any(_is(figure, value) for value in known)
            ]
            return absent, set(figures(block))
        return self._check_places(record, block)

    def _check_places(self, record: Any, block: str) -> tuple[list[str], set[str]]:
        wrong, told = [], set()
        for line in re.split(r"\n|; ", self.body):
            match = _LINE.fullmatch(line.strip())
            if match is None:
                wrong.append(f"not a figure and its place: {line.strip()!r}")
                continue
            value = place(record, match["place"]) * float(match["factor"] or 1)
            value /= place(record, match["over"]) if match["over"] else 1
            if not _is(match["figure"], value):
                wrong.append(f"{match['figure']} is {value:.6g} in {self.file}, {match['place']}")
            if match["figure"] not in block:
                wrong.append(f"{match['figure']} is said to be recorded, and is not there")
            told.add(match["figure"])
        return wrong, told


def blocks(text: str) -> Iterator[tuple[str, list[Source]]]:
    """Paragraphs, tables and blocks of code of a page, with the comments right before them."""
    found: list[Source] = []
    for part in re.split(r"(```.*?^```|<!--.*?-->)|\n\s*\n", text, flags=re.DOTALL | re.MULTILINE):
        if not part or not part.strip():
            continue
        comment = _COMMENT.fullmatch(part.strip())
        if comment:
            found.append(Source(comment["file"], comment["body"]))
        else:
            yield part, found
            found = []


def figures(block: str) -> list[str]:
    """Numbers that look measured. Commands and programs have none; their output has."""
    if block.lstrip().startswith("```") and not re.match(r"\s*```\w*\n\$ ", block):
        return []
    return [match["figure"] for match in FIGURE.finditer(re.sub(r"`[^`\n]*`", "", block))]


def numbers(block: str) -> list[str]:
    """Every number with a decimal point or thousands, as in a table of output."""
    return re.findall(r"(?<![\w.,-])\d[\d,]*\.\d+(?![\w.]*\d)|(?<![\w.,])\d{1,3}(?:,\d{3})+", block)


def problems(page: Path) -> list[str]:
    """What is wrong with the figures of a page."""
    found: list[str] = []
    for block, sources in blocks(page.read_text()):
        accounted: set[str] = set()
        for source in sorted(sources, key=lambda source: source.all):
            wrong, told = source.check(block, accounted)
            found += wrong
            accounted |= told
        found += [f"{one} has no record" for one in figures(block) if one not in accounted]
    return found


def place(record: Any, path: str) -> float:
    """The number at a path of names, indices and values that tell entries of a list apart."""
    for step in path.split("."):
        if isinstance(record, dict):
            record = record[step]
        elif step.isdigit() and int(step) < len(record) and not isinstance(record[0], dict):
            record = record[int(step)]
        else:
            record = next(
                one for one in record if step in (str(v) for v in one.values() if _plain(v))
            )
    return float(record)


def _plain(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _numbers(record: Any) -> Iterator[float]:
    if isinstance(record, dict):
        record = record.values()
    if isinstance(record, bool) or record is None or isinstance(record, str):
        return
    if isinstance(record, int | float):
        yield float(record)
        return
    for one in record:
        yield from _numbers(one)


def _is(figure: str, value: float) -> bool:
    """Whether a figure is the value, rounded as it is; half a digit either way."""
    written = Decimal(figure.replace(",", ""))
    exponent = written.as_tuple().exponent
    assert isinstance(exponent, int)
    half = Decimal(5).scaleb(exponent - 1)
    return abs(written - Decimal(repr(value))) <= half * Decimal("1.0001")
