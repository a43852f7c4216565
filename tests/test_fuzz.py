"""Readers of files that anybody may bring, on damaged and made-up ones.

``FER_EDGE_FUZZ=2000`` makes it 10,000 inputs; the default keeps the tests quick.
"""

import io
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_edge.artifact import Artifact
from fer_edge.data import load_dataset
from fer_edge.errors import FerEdgeError
from fer_edge.models.carried import carried_model
from fer_edge.runtime import read_image

FUZZ = settings(
    max_examples=int(os.environ.get("FER_EDGE_FUZZ", "150")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
FACE = np.arange(2304, dtype=np.uint8).reshape(48, 48)


def encode(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(FACE).save(stream, kind)
    return stream.getvalue()


def packed() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train/happy/a.png", "val/sad/b.png", "notes.csv"):
            archive.writestr(name, encode("PNG"))
    return stream.getvalue()


ROW = f"3,{' '.join(map(str, FACE.ravel()))},Training"
CSV = f"emotion,pixels,Usage\n{ROW}\n{ROW}\n".encode()
LEGEND = b"image,emotion,split\na.png,happy,train\nb.png,sad,val\n"
LIST = b"a.png 0 1 1 40 40 9.5 3\nb.png 0 1 1 40 40 9.5 4\n"
IMAGES = [encode(kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")]
MANIFEST = (carried_model() / "manifest.json").read_bytes()
ODD = [
    *(b"\r", b"\n", b"\0", b'"', b",", b";", b"\t", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"-1", b"../", b"1e999"),
]


@st.composite
def damaged(draw: st.DrawFn, *whole: bytes) -> bytes:
    """One of some files, cut, with bytes changed, put in or doubled; or bytes of no kind."""
    data = bytearray(draw(st.sampled_from(whole)))
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=300))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        # The beginning of a file, where its header is, is met more often than chance has it.
        at = at % 64 if draw(st.booleans()) else at
        match draw(st.integers(0, 4)):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 2:
                data[at:at] = draw(st.sampled_from(ODD) | st.binary(max_size=8))
            case 3:
                del data[at : at + draw(st.integers(1, 40))]
            case 4:
                data[at:at] = data[at : at + draw(st.integers(1, 400))]
    return bytes(data)


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
