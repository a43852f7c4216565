"""Rows of faces as Parquet, CSV or JSON lines."""

import contextlib
import csv
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fer_edge.contract import EMOTIONS
from fer_edge.errors import MissingDependencyError, UsageError
from fer_edge.files import atomic_path

Row = Mapping[str, object]
Columns = Mapping[str, tuple[str, str]]
Write = Callable[[Sequence[Row]], None]

_COLUMNS: Final[Mapping[str, tuple[str, str]]] = {
    "frame": ("int64", "counts from 0"),
    "file": ("string", "name of the image; none for a video"),
    "time": ("double", "seconds since the start; none for images without a time"),
    "track": ("int32", "the same for as long as a face is followed"),
    "x": ("float", "left edge of the box, pixels"),
    "y": ("float", "upper edge of the box, pixels"),
    "width": ("float", "of the box, pixels"),
    "height": ("float", "of the box, pixels"),
    "score": ("float", "of the detector, 0..1; none where it was not asked"),
    "emotion": ("string", "smoothed label; none where it is unsure"),
}

METADATA_KEY: Final = "fer-edge"
"""Under which the metadata of a Parquet schema has the facts, as JSON."""

_ROWS_AT_A_TIME = 10_000


def columns(classes: Sequence[str] = EMOTIONS) -> dict[str, tuple[str, str]]:
    """Columns of a file, a row per face and frame: name to Arrow type and meaning.

    Parameters
    ----------
    classes : sequence of str
        The labels of the model: each has a column of its smoothed and one of its raw probability.
    """
    return {
        **_COLUMNS,
        **{f"p_{name}": ("float", "probability, smoothed over time") for name in classes},
        **{f"raw_{name}": ("float", "probability, of this frame alone") for name in classes},
    }


def check_rows(path: Path) -> None:
    """Raise what :func:`open_rows` would of a wrong name or no pyarrow, before a long run."""
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(
            f"{path} is not a name for a table.", hint=f"End it in {', '.join(_FORMATS)}."
        )
    if path.suffix.lower() == ".parquet":
        _load_pyarrow()


@contextlib.contextmanager
def open_rows(
    path: Path, facts: Mapping[str, object], classes: Sequence[str] = EMOTIONS
) -> Iterator[Write]:
    """Write rows to a file whose ending tells the format; it appears when the block succeeds.

    Parameters
    ----------
    path : Path
        Ends in .parquet, .csv or .jsonl.
    facts : mapping
        How the rows were made, ready for JSON: the metadata of a Parquet schema. The other formats
        have no place for it.
    classes : sequence of str
        The labels of the model.

    Yields
    ------
    callable
        Takes rows with all of :func:`columns`.

    Raises
    ------
    MissingDependencyError
        pyarrow is not installed, which Parquet needs.
    StorageError
        The file cannot be written.
    UsageError
        Another ending.
    """
    check_rows(path)
    with (
        atomic_path(path) as temporary,
        _FORMATS[path.suffix.lower()](temporary, facts, columns(classes)) as write,
    ):
        yield write


@contextlib.contextmanager
def _parquet(path: Path, facts: Mapping[str, object], columns: Columns) -> Iterator[Write]:
    arrow = _load_pyarrow()
    types = {"string": arrow.dictionary(arrow.int8(), arrow.string())}
    schema = arrow.schema(
        [
            arrow.field(name, types.get(kind, kind), metadata={"description": meaning})
            for name, (kind, meaning) in columns.items()
        ],
        metadata={METADATA_KEY: json.dumps(facts)},
    )
    waiting: list[Row] = []
    with arrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(rows: Sequence[Row]) -> None:
            waiting.extend(rows)
            if len(waiting) >= _ROWS_AT_A_TIME:
                flush()

        def flush() -> None:
            writer.write_table(arrow.Table.from_pylist(waiting, schema))
            waiting.clear()

        yield write
        flush()


@contextlib.contextmanager
def _csv(path: Path, _: Mapping[str, object], columns: Columns) -> Iterator[Write]:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        yield writer.writerows


@contextlib.contextmanager
def _json_lines(path: Path, _: Mapping[str, object], __: Columns) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as stream:
        yield lambda rows: stream.writelines(json.dumps(row) + "\n" for row in rows)


_FORMATS = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines}


def _load_pyarrow() -> Any:
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise MissingDependencyError(
            f"Parquet needs pyarrow: {error}.",
            hint="Run: pip install 'fer-edge[analyze]', or end the name in .csv",
        ) from error
