import json
import sys
from pathlib import Path

import pytest

from .conftest import Command, Edit

QUICK = ("--seconds", "0.1", "--batch", "1")


def test_every_precision_is_measured(fer_edge: Command, exported: Path, csv: Path) -> None:
    result = fer_edge("bench", exported, "--data", csv, *QUICK)
    assert (result.code, result.err) == (0, "")
    for precision in ("fp32", "fp16", "int8"):
        assert f"\n{precision} " in result.out
    assert "Macro-F1" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_json_on_stdout_and_in_a_file(fer_edge: Command, exported: Path, tmp_path: Path) -> None:
    files = ("--out", tmp_path / "new" / "bench.json", "--plot", tmp_path / "bench.png")
    result = fer_edge("bench", exported, *QUICK, "--precision", "int8", "--json", *files)
    told = json.loads(result.out)
    assert told == json.loads((tmp_path / "new" / "bench.json").read_text())
    assert [row["precision"] for row in told["precisions"]] == ["int8"]
    assert told["precisions"][0]["score"] is None
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_without_data_accuracy_is_said_to_need_it(fer_edge: Command, exported: Path) -> None:
    result = fer_edge("bench", exported, *QUICK, "--precision", "fp32")
    assert "Accuracy was not measured: it needs data" in result.out


def test_bad_data_is_named(fer_edge: Command, exported: Path, bad_data: tuple[Path, str]) -> None:
    path, says = bad_data
    error = fer_edge("bench", exported, "--data", path).error()
    assert says in error
    assert str(path) in error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--batch", "0"], "--batch 0: 0 is not a batch size"),
        (["--batch", "1,x"], "x is not a batch size"),
        (["--precision", "fp64"], "--precision fp64: choose from fp32, fp16, int8, fp8."),
        (["--backend", "tpu"], "Unknown backend 'tpu'"),
        (["--plot", "bench.pdf"], "bench.pdf is not a name for a PNG. End it in .png"),
    ],
)
def test_usage(options: list[str], says: str, fer_edge: Command, exported: Path) -> None:
    assert says in fer_edge("bench", exported, *options).error(2)


def test_an_unknown_split_is_named(fer_edge: Command, exported: Path, csv: Path) -> None:
    error = fer_edge("bench", exported, "--data", csv, "--split", "dev").error(2)
    assert "no split 'dev'. Choose from train, val, test." in error


def test_a_split_without_faces_says_what_there_is(
    fer_edge: Command, exported: Path, csv: Path
) -> None:
    error = fer_edge("bench", exported, "--data", csv, "--split", "test").error()
    assert "no faces in split test; it has train (70), val (70)" in error


def test_a_bad_model_is_met_before_the_data_is_read(fer_edge: Command) -> None:
    assert "There is no nowhere" in fer_edge("bench", "nowhere", "--data", "missing").error()


def test_no_matplotlib_is_met_before_the_measurement(
    fer_edge: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    error = fer_edge("bench", exported, "--plot", "bench.png").error()
    assert "pip install 'fer-edge[plot]'" in error


def test_a_precision_that_was_not_exported_is_an_error(
    fer_edge: Command, artifact: Path, edit: Edit
) -> None:
    edit(lambda manifest: manifest["graphs"].pop("fp16"))
    error = fer_edge("bench", artifact, "--precision", "fp16").error()
    assert "has no fp16 graph (it has: fp32, int8)" in error


def test_a_graph_under_a_false_precision_is_an_error(
    fer_edge: Command, artifact: Path, edit: Edit
) -> None:
    edit(lambda manifest: manifest["graphs"]["int8"].update(cpu_file="fp32.onnx"))
    error = fer_edge("bench", artifact, *QUICK).error()
    assert f"The manifest gives {artifact}/fp32.onnx as int8, and it is fp32." in error


def test_a_result_that_cannot_be_written_is_shown_all_the_same(
    fer_edge: Command, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "bench.json"
    result = fer_edge("bench", exported, *QUICK, "--precision", "fp32", "--out", target)
    assert result.code == 1
    assert "Faces/s" in result.out
    assert result.err.startswith("error: Cannot access ")
    assert result.err.count("\n") == 1
