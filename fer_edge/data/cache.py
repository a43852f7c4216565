"""Decoded faces on disk, so that a data set is decoded once."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fer_edge.contract import FER2013
from fer_edge.data.dataset import FaceDataset, content_fingerprint
from fer_edge.data.labels import SPLITS, Split
from fer_edge.data.listing import LegendReport
from fer_edge.files import atomic_folder, without_cache

_INDEX = "index.json"
# Part of the key: raise it when a reader gives other faces, labels or splits for the same source.
_VERSION = 4

Kind = Literal["csv", "images"]


class Decoded(NamedTuple):
    """What a source holds."""

    kind: Kind
    splits: dict[Split, FaceDataset]
    report: LegendReport | None = None


def cached(
    folder: Path,
    source_fingerprint: str,
    decode: Callable[[], Decoded],
    *,
    face: tuple[int, ...] = FER2013.crop_shape,
    classes: tuple[str, ...] = FER2013.labels,
) -> Decoded:
    """Return what ``decode`` returns, from the cache where it holds it undamaged.

    Parameters
    ----------
    folder : Path
        Cache folder; made if it is not there.
    source_fingerprint : str
        Key.
    decode : callable
        Called at most once; what it raises leaves the cache as it was.
    face : tuple of int
        Shape of a face.
    classes : tuple of str
        What labels mean.

    Returns
    -------
    Decoded
        Faces and labels are memory-mapped, unless the cache cannot be written.
    """
    key = hashlib.sha256(f"{_VERSION}:{source_fingerprint}".encode()).hexdigest()[:32]
    entry = folder / "faces" / key
    if (found := _load(entry, face, classes)) is not None:
        return found
    decoded = decode()
    with without_cache(), atomic_folder(entry) as temporary:
        _save(temporary, decoded)
    return _load(entry, face, classes) or decoded


def _save(folder: Path, decoded: Decoded) -> None:
    index: dict[str, Any] = {"kind": decoded.kind, "splits": {}}
    if decoded.report is not None:
        index["report"] = asdict(decoded.report)
    for data in decoded.splits.values():
        assert data.names is not None  # every reader names its faces
        index["splits"][data.split] = data.fingerprint
        np.save(folder / f"{data.split}-faces.npy", data.faces)
        np.save(folder / f"{data.split}-labels.npy", data.labels)
        np.save(folder / f"{data.split}-names.npy", data.names)
    (folder / _INDEX).write_text(json.dumps(index))


def _load(folder: Path, face: tuple[int, ...], classes: tuple[str, ...]) -> Decoded | None:
    """Return what :func:`_save` wrote, or None where it is missing or not what was written."""
    try:
        index = json.loads((folder / _INDEX).read_text())
        splits: dict[Split, FaceDataset] = {}
        for split in SPLITS:
            if split in index["splits"]:
                faces, labels, names = (
                    np.load(folder / f"{split}-{part}.npy", mmap_mode="r")
                    for part in ("faces", "labels", "names")
                )
                fingerprint = index["splits"][split]
                whole = (
                    faces.shape == (len(labels), *face)
                    and names.shape == labels.shape
                    and content_fingerprint(faces, labels) == fingerprint
                )
                if not whole:
                    return None
                splits[split] = FaceDataset(
                    faces, labels, split, fingerprint, names=names, classes=classes
                )
        report = LegendReport(**index["report"]) if "report" in index else None
        return Decoded(index["kind"], splits, report)
    except (OSError, ValueError, KeyError, TypeError):
        return None
