"""Readers of files that anybody may bring, on damaged and made-up ones."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.artifact import Artifact
from fer_edge.data import load_dataset
from fer_edge.errors import FerEdgeError
from fer_edge.runtime import read_image
from tests.fuzzing import CSV, FUZZ, IMAGES, LEGEND, LIST, MANIFEST, damaged, packed


def answers(work: Callable[[], object], path: Path) -> None:
    """It works, or refuses in a line that names the file; nothing is left behind."""
    folder = path if path.is_dir() else path.parent
    before = sorted(folder.rglob("*"))
    refusal: FerEdgeError | None = None
    try:
        work()
    except FerEdgeError as error:
        refusal = error
    assert refusal is None or path.name in str(refusal)
    assert refusal is None or (refusal.message and refusal.hint)
    assert sorted(folder.rglob("*")) == before


def in_folder(name: str, data: bytes, others: dict[str, bytes], source: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for other, content in {**others, name: data}.items():
            place = Path(folder, "set", other)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        path = Path(folder, "set", source) if source else Path(folder, "set")
        answers(lambda: load_dataset(path, "train", cache=False), path)


@FUZZ
@given(damaged(CSV), st.sampled_from(["fer2013.csv", "other.csv", "a.tsv"]), st.booleans())
def test_csv(data: bytes, name: str, alone: bool) -> None:
    in_folder(name, data, {}, name if alone else "")


@FUZZ
@given(damaged(packed()), st.sampled_from(["a.zip", "a.tar.gz", "fer2013.csv"]))
def test_zip(data: bytes, name: str) -> None:
    in_folder(name, data, {}, name)


@FUZZ
@given(damaged(LEGEND, LIST), st.sampled_from(["a.csv", "label.lst", "list_patition_label.txt"]))
def test_legend(data: bytes, name: str) -> None:
    in_folder(name, data, {"a.png": IMAGES[0], "b.png": IMAGES[0]}, "")


@FUZZ
@given(damaged(*IMAGES), st.sampled_from(["train/happy/a.png", "photo.jpg"]))
def test_image(data: bytes, name: str) -> None:
    if name == "photo.jpg":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(data)
            answers(lambda: read_image(path), path)
    else:
        in_folder(name, data, {"train/sad/b.png": IMAGES[0]}, "")


@FUZZ
@given(damaged(MANIFEST))
def test_manifest(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "manifest.json")
        path.write_bytes(data)
        answers(lambda: Artifact.load(path.parent), path.parent)


@pytest.mark.parametrize("name", ["fer2013.csv", "a.zip", "x/a.csv"])
def test_what_is_whole_is_read_beside_all_this(name: str) -> None:
    files = {"fer2013.csv": CSV, "a.zip": packed(), "x/a.csv": LEGEND}
    others = {"x/a.png": IMAGES[0], "x/b.png": IMAGES[0]} if name.startswith("x/") else {}
    in_folder(name, files[name], others, "" if others else name)
