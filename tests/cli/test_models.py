import hashlib
import json
from pathlib import Path

import pytest

from fer_edge.engines import speed as speeds
from fer_edge.models import carried
from fer_edge.models.published import Published
from tests.tiny import tiny_artifact

from .conftest import Command


def test_the_carried_models_are_listed_with_what_they_are_worth(fer_edge: Command) -> None:
    result = fer_edge("models")
    assert (result.code, result.err) == (0, "")
    row = next(line for line in result.out.splitlines() if "│ compact " in line)
    assert " 70.08 " in row
    assert " 80.4 " in row
    assert "fer-edge info NAME --card" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_the_list_as_json(fer_edge: Command) -> None:
    rows = json.loads(fer_edge("models", "--json").out)
    (compact,) = [row for row in rows if row["name"] == "compact"]
    folder = Path(compact["folder"])
    assert folder == carried.FOLDER / "compact"
    assert compact["sha256"] == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert compact["bytes"] == (folder / f"{compact['precision']}.onnx").stat().st_size
    assert compact["package"] == "fer-edge"


def test_the_speed_is_the_one_that_was_tuned(
    fer_edge: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path))
    # What another test measured in this process.
    monkeypatch.setattr(speeds, "_in_process", {})

    def speed() -> float | None:
        rows = json.loads(fer_edge("models", "--json").out)
        value: float | None = next(row["ms_per_face"] for row in rows if row["name"] == "compact")
        return value

    # The tests keep a first open from timing anything.
    assert speed() is None
    assert fer_edge("tune", "compact", "--seconds", "0.1").code == 0
    told = speed()
    assert told is not None
    assert told > 0


def test_a_model_of_one_graph_is_timed(
    fer_edge: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = tiny_artifact(tmp_path / "alone", "fp32")
    published = Published("alone", alone.folder, "alone-model", "1.0", "MIT")
    monkeypatch.setattr("fer_edge.models.published.published_models", lambda: {"alone": published})
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(speeds, "_in_process", {})
    monkeypatch.setenv("FER_EDGE_TUNE", "1")
    (row,) = json.loads(fer_edge("models", "--json").out)
    assert row["ms_per_face"] > 0


@pytest.mark.parametrize("command", ["info", "inspect", "bench", "tune", "export"])
def test_every_command_says_which_names_there_are(fer_edge: Command, command: str) -> None:
    result = fer_edge(command, "nanoo")
    assert result.code == 1
    assert "There is no model 'nanoo'" in result.err
    assert "compact" in result.err


def test_a_name_is_taken_where_an_artifact_is(fer_edge: Command) -> None:
    assert "1.90 M parameters" in fer_edge("info", "compact").out
