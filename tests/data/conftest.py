"""Small data sets in every layout, and a cache of their own."""

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FACES = np.random.default_rng(0).integers(0, 256, (12, 48, 48), dtype=np.uint8)


def pixels(i: int) -> str:
    return " ".join(map(str, FACES[i].ravel()))


def encode(face: np.ndarray, suffix: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(face).save(stream, suffix)
    return stream.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FER_EDGE_CACHE", str(folder))
    return folder


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Write lines of ``emotion,pixels,Usage`` below the header."""

    def write(lines: Iterable[str], name: str = "fer2013.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(["emotion,pixels,Usage", *lines]) + "\n")
        return path

    return write


@pytest.fixture
def fer_csv(write_csv: Callable[..., Path]) -> Path:
    """Six faces of train, four of val, two of test; face i has label i modulo 7."""
    usages = ["Training"] * 6 + ["PublicTest"] * 4 + ["PrivateTest"] * 2
    return write_csv(f"{i % 7},{pixels(i)},{usage}" for i, usage in enumerate(usages))
