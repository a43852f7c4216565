import json
from pathlib import Path

import pytest

from fer_edge import Recognizer
from fer_edge.engines import preference, speed
from tests.tiny import tiny_artifact

from .conftest import Command


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(preference.VARIABLE, raising=False)
    monkeypatch.setattr(speed, "_in_process", {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_artifact(tmp_path / "artifact", "fp32", "int8").folder


@pytest.mark.parametrize(("slower", "taken"), [("int8", "fp32"), ("fp32", "int8")])
def test_auto_goes_by_what_was_timed(
    fer_edge: Command, folder: Path, tmp_path: Path, slower: str, taken: str
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    told = json.loads(fer_edge("tune", folder, "--seconds", 0.1, "--json").out)
    assert told["backend"] == "onnxruntime-cpu"
    assert set(told["ms"]) == {"fp32", "int8"}
    assert Path(told["kept"]).is_relative_to(tmp_path / "cache")
    # As if it had come out otherwise: the next program believes the file.
    record = json.loads(Path(told["kept"]).read_text())
    record["ms"] = {p: {"1": 9.0 if p == slower else 1.0} for p in ("fp32", "int8")}
    Path(told["kept"]).write_text(json.dumps(record))
    with Recognizer(folder, backend="onnxruntime-cpu") as recognizer:
        assert recognizer.describe().precision == taken
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_table_says_what_auto_takes(fer_edge: Command, folder: Path) -> None:
    result = fer_edge("tune", folder, "--seconds", 0.1)
    assert (result.code, result.err) == (0, "")
    assert "ms at batch 1" in result.out
    assert "auto takes int8 here" in result.out or "auto takes fp32 here" in result.out


def test_a_cache_that_cannot_be_written_is_told(
    fer_edge: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "file"))
    result = fer_edge("tune", folder, "--seconds", 0.1)
    assert result.code == 0
    assert "could not be kept" in result.out


def test_a_backend_that_the_artifact_has_nothing_for(fer_edge: Command, folder: Path) -> None:
    error = fer_edge("tune", folder, "--backend", "tensorrt-rtx").error()
    assert "has nothing that tensorrt-rtx runs" in error


def test_no_artifact(fer_edge: Command, tmp_path: Path) -> None:
    assert "is not an artifact" in fer_edge("tune", tmp_path).error()
