"""Engines, faces and displays for programs that would use a model, a camera and a screen."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.data import load_dataset
from fer_edge.pixels.boxes import Box
from fer_edge.runtime import Detection, recognizer
from tests.engines.conftest import building_tensorrt, gpu, package  # noqa: F401
from tests.tiny import FakeEngine

FRAME = np.random.default_rng(2).integers(0, 256, (120, 160, 3), dtype=np.uint8)
# Two faces of different emotions: noise, and four flat squares.
FRAME[:50, :50] = np.kron(
    np.random.default_rng(2).integers(0, 256, (2, 2, 1)), np.ones((25, 25, 3))
)
NEAR, FAR = Box(60, 20, 80, 80), Box(5, 5, 40, 40)


def see_two(_: np.ndarray) -> list[Detection]:
    """A detector that always finds the same two faces, the smaller first."""
    return [Detection(FAR, 0.8), Detection(NEAR, 0.9)]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What every Recognizer runs on."""
    engine = FakeEngine(delay=0.01)
    monkeypatch.setattr(recognizer, "open_engine", lambda *_, **__: engine)
    return engine


@pytest.fixture
def detect(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable], None]:
    """Give Recognizers another detector."""
    return lambda detector: monkeypatch.setattr(recognizer, "RetinaFace", lambda: detector)


@pytest.fixture(scope="session")
def xvfb() -> Iterator[str]:
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("needs an X server: apt install xvfb")
    read, write = os.pipe()
    server = subprocess.Popen(
        [program, "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait(10)


@pytest.fixture
def display(xvfb: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DISPLAY", xvfb)
    return xvfb


@pytest.fixture(scope="session")
def real_photo(fer2013: Path) -> np.ndarray:
    """Four real faces in one BGR picture of 640x480 pixels."""
    pytest.importorskip("retinaface", reason="needs the extra camera")
    faces = load_dataset(fer2013, "val").faces[:400:100]
    photo = np.full((480, 640, 3), 127, np.uint8)
    for i, face in enumerate(faces):
        large = Image.fromarray(face).resize((180, 180), Image.Resampling.BICUBIC)
        x, y = 60 + 300 * (i % 2), 30 + 220 * (i // 2)
        photo[y : y + 180, x : x + 180] = np.asarray(large)[..., None]
    return photo


def assert_ctrl_c_ends(program: str, *, after: str) -> None:
    """``program`` prints ``after``, gets Ctrl-C, and comes to print "stopped" and nothing else."""
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == f"{after}\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out.split()[-1], err) == (0, "stopped", "")
