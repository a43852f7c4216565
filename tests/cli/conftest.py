"""An exported model and data sets small enough for every command to take a second."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from PIL import Image

from fer_edge.cli import main
from fer_edge.cli.console import stderr
from fer_edge.data import FaceDataset, synthetic_dataset
from fer_edge.export.pipeline import export_model
from fer_edge.runtime import Box, Detection, RetinaFace
from tests.engines.conftest import building_tensorrt, gpu, package  # noqa: F401
from tests.export.graphs import plain_graph


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    def error(self, code: int = 1) -> str:
        """The one line of a command that failed, without its ``error:``."""
        assert self.code == code, self
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("error: ").rstrip("\n")


Command = Callable[..., Outcome]
Edit = Callable[[Callable[[dict], object]], None]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _environment(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FER_EDGE_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # It is for good, and the tests after this one are in the same process.
    monkeypatch.setattr("fer_edge.training.memory.keep_memory", lambda: None)
    monkeypatch.chdir(tmp_path)
    yield
    # Its width was read from this test's environment.
    stderr.cache_clear()


@pytest.fixture
def fer_edge(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return Outcome(int(stop.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def python() -> Callable[..., subprocess.Popen[str]]:
    """Start Python on a script; the arguments are those of ``fer-edge``."""

    def start(script: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.Popen(command, text=True, env=os.environ, **(pipes | options))

    return start


@pytest.fixture(scope="session")
def val() -> FaceDataset:
    return synthetic_dataset(70, seed=1, split="val")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, val: FaceDataset) -> Path:
    """Artifact in three precisions, scored; not to be changed."""
    folder = tmp_path_factory.mktemp("exported")
    onnx.save(plain_graph(), folder / "plain.onnx")
    export_model(
        folder / "plain.onnx",
        folder / "build",
        precisions=("fp16", "int8"),
        data=val,
        method="minmax",
        samples=35,
    )
    return folder / "build"


@pytest.fixture
def artifact(exported: Path, tmp_path: Path) -> Path:
    """A copy of ``exported`` to damage."""
    return Path(shutil.copytree(exported, tmp_path / "artifact"))


@pytest.fixture
def edit(artifact: Path) -> Edit:
    """Change the manifest of ``artifact`` in place."""

    def change(how: Callable[[dict], object]) -> None:
        path = artifact / "manifest.json"
        manifest = json.loads(path.read_text())
        how(manifest)
        path.write_text(json.dumps(manifest))

    return change


@pytest.fixture(scope="session")
def face(tmp_path_factory: pytest.TempPathFactory, val: FaceDataset) -> Path:
    path = tmp_path_factory.mktemp("face") / "face.png"
    Image.fromarray(np.array(val.faces[0])).save(path)
    return path


USAGES = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}


def lines(data: FaceDataset) -> list[str]:
    """Lines of Kaggle's csv."""
    return [
        f"{label},{' '.join(map(str, face.ravel()))},{USAGES[data.split]}"
        for face, label in zip(data.faces, data.labels, strict=True)
    ]


@pytest.fixture(scope="session")
def fer_lines(val: FaceDataset) -> list[str]:
    return [*lines(synthetic_dataset(70, seed=1)), *lines(val)]


@pytest.fixture(scope="session")
def csv(tmp_path_factory: pytest.TempPathFactory, fer_lines: list[str]) -> Path:
    """Kaggle's csv of 70 training and 70 validation faces."""
    return write_csv(tmp_path_factory.mktemp("csv") / "fer2013.csv", fer_lines)


def write_csv(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["emotion,pixels,Usage", *rows, ""]))
    return path


@pytest.fixture(
    params=[
        ("missing.csv", "There is no"),
        ("empty.csv", "is empty. Get the file again"),
        ("short.csv", "line 3: 2303 pixels instead of 2304"),
        ("label.csv", "line 3: emotion is '7', not a label 0..6"),
        ("pixel.csv", "line 3: pixel 1 is 'x', not 0..255"),
        ("cut.csv", "line 3: 2 fields instead of 3"),
        ("cut.zip", "is a damaged or incomplete zip"),
        ("foreign.zip", "holds no faces: neither fer2013.csv, nor images"),
        ("text.zip", "train/happy/1.jpg is not an image that can be read"),
        ("binary.csv", "is neither csv nor zip nor folder"),
    ],
    ids=lambda param: param[0],
)
def bad_data(
    request: pytest.FixtureRequest, tmp_path: Path, csv: Path, fer_lines: list[str]
) -> tuple[Path, str]:
    """A file that is no data set, and what is said about it."""
    name, says = request.param
    path = tmp_path / name
    good, bad = fer_lines[:2]
    label, pixels, usage = bad.split(",")
    rest = pixels.partition(" ")[2]
    rows = {
        "short.csv": f"{label},{rest},{usage}",
        "label.csv": f"7,{pixels},{usage}",
        "pixel.csv": f"{label},x {rest},{usage}",
        "cut.csv": f"{label},{pixels}",
    }
    if name in rows:
        write_csv(path, [good, rows[name]])
    elif name == "empty.csv":
        path.touch()
    elif name == "binary.csv":
        path.write_bytes(bytes(range(256)))
    elif name != "missing.csv":
        with zipfile.ZipFile(path, "w") as archive:
            if name == "cut.zip":
                archive.write(csv, "fer2013.csv")
            elif name == "foreign.zip":
                archive.writestr("readme.txt", "hello")
            else:
                archive.writestr("train/happy/1.jpg", "not an image")
        if name == "cut.zip":
            path.write_bytes(path.read_bytes()[:1000])
    return path, says


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders below ``folder``."""
    return [str(path) for path in folder.rglob(".*")]


@pytest.fixture
def one_face_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that finds the face in each frame of :func:`film`."""

    def find(_: RetinaFace, image: np.ndarray) -> list[Detection]:
        del image
        return [Detection(Box(100, 60, 96, 96), 0.7)]

    monkeypatch.setattr(RetinaFace, "__call__", find)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory, val: FaceDataset) -> Path:
    """A video of 20 frames, 40 a second, with one made-up face that changes after the first ten."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 40, (320, 240))
    for i in range(20):
        frame = np.full((240, 320, 3), 127, np.uint8)
        frame[60:156, 100:196] = cv2.resize(np.array(val.faces[i // 10]), (96, 96))[..., None]
        writer.write(frame)
    writer.release()
    return path
