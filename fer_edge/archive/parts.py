"""Parts: a Parquet file of the rows of one piece of work, which tells in itself what was done.

What could not be read stands in a part's metadata, and not in a file beside it: one rename is the
moment from which all of it counts as done, or none.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from fer_edge.archive.store import Store
from fer_edge.archive.tasks import Collected, ErrorRow, Written
from fer_edge.runtime.row_files import (
    METADATA_KEY,
    Columns,
    arrow_schema,
    columns,
    load_pyarrow,
)

FOLDER = "faces"
ERRORS = "errors.parquet"
_DONE_KEY = "fer-edge-part"
_SUFFIX = ".parquet"

ERROR_COLUMNS: Columns = {
    "file": ("string", "photo or video"),
    "piece": ("int32", "of a video, counts from 0; none for a photo"),
    "error": ("string", "what is wrong, and what to do about it"),
}


def archive_columns(classes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Columns of an archive's rows: those of :func:`fer_edge.runtime.row_files.columns`, and one.

    Parameters
    ----------
    classes : sequence of str
        The labels of the model.
    """
    named = {"file": ("string", "path of the photo or video")}
    piece = {"piece": ("int32", "of a video; tracks are followed within one. None for a photo")}
    return {**columns(classes), **named, **piece}


def write_part(
    store: Store,
    part: str,
    found: Collected,
    facts: Mapping[str, object],
    classes: Sequence[str],
) -> Written:
    """Put a part in its place.

    Raises
    ------
    StorageError
        It cannot be written: no space, no permission.
    """
    written = Written(part, tuple(found.errors), found.tally)
    metadata = {METADATA_KEY: facts, _DONE_KEY: written.to_dict()}
    data = _parquet(found.rows, archive_columns(classes), metadata)
    store.write(f"{FOLDER}/{part}{_SUFFIX}", data)
    return written


def read_part(store: Store, part: str) -> Written | None:
    """What a part says of itself; None where it is not there, or is no part."""
    arrow = load_pyarrow("An archive")
    data = store.read(f"{FOLDER}/{part}{_SUFFIX}")
    if data is None:
        return None
    try:
        metadata = arrow.parquet.read_schema(io.BytesIO(data)).metadata or {}
        written = Written.from_dict(json.loads(metadata[_DONE_KEY.encode()]))
    except (arrow.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return written if written.part == part else None


def parts_there(store: Store) -> set[str]:
    """Names of the parts that are in their place."""
    names = store.names(FOLDER)
    return {PurePosixPath(name).stem for name in names if name.endswith(_SUFFIX)}


def write_errors(store: Store, errors: Iterable[ErrorRow], facts: Mapping[str, object]) -> None:
    """Write ``errors.parquet``, in the order of files and pieces; raises as :func:`write_part`."""
    ordered = sorted(errors, key=lambda row: (row.file, row.piece or 0))
    rows = [{"file": row.file, "piece": row.piece, "error": row.error} for row in ordered]
    store.write(ERRORS, _parquet(rows, ERROR_COLUMNS, {METADATA_KEY: facts}))


def _parquet(
    rows: Sequence[Mapping[str, object]], named: Columns, metadata: Mapping[str, object]
) -> bytes:
    arrow = load_pyarrow("An archive")
    schema = arrow_schema(named, metadata)
    stream = io.BytesIO()
    table = arrow.Table.from_pylist(list(rows), schema)
    arrow.parquet.write_table(table, stream, compression="zstd")
    return stream.getvalue()
