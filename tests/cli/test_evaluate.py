import csv as csv_format
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.artifact import Artifact
from fer_edge.data import hold_out, load_dataset

from .conftest import Command, leftovers
from .test_app import IMPORTED, imported


def test_errors_are_told_per_emotion(fer_edge: Command, exported: Path, csv: Path) -> None:
    result = fer_edge("evaluate", exported, "--data", csv)
    assert (result.code, result.err) == (0, "")
    score = Artifact.load(exported).manifest.scores["fp32"]
    assert "plain fp32 on val, 70 faces" in result.out
    assert f"{100 * score.accuracy:.2f} ± {100 * score.standard_error:.2f} %" in result.out
    assert f"ECE       {100 * (score.ece or 0):.2f} %" in result.out
    assert re.search(r"\nneutral +10 +- +0\.0 +0\.0 +fear 100 *\n", result.out)
    assert max(map(len, result.out.splitlines())) <= 80


def test_json_on_stdout_and_in_the_folder(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    options = ("--precision", "int8", "--json", "--out", tmp_path / "errors")
    told = json.loads(fer_edge("evaluate", exported, "--data", csv, *options).out)
    assert told == json.loads((tmp_path / "errors" / "evaluation.json").read_text())
    assert told["precision"] == "int8"
    recorded = Artifact.load(exported).manifest.scores["int8"]
    for name in ("accuracy", "macro_f1", "ece", "f1", "data"):
        assert told["score"][name] == getattr(recorded, name)
    with (tmp_path / "errors" / "predictions.csv").open() as stream:
        assert len(list(csv_format.DictReader(stream))) == 70
    assert leftovers(tmp_path) == []


def test_the_files_are_named(fer_edge: Command, exported: Path, csv: Path) -> None:
    result = fer_edge("evaluate", exported, "--data", csv, "--split", "train", "--out", "errors")
    assert "plain fp32 on train" in result.out
    named = result.out.splitlines()[-1].removeprefix("In errors: ").split(", ")
    assert sorted(named) == sorted(path.name for path in Path("errors").iterdir())


def test_only_what_a_training_held_out_is_scored(
    fer_edge: Command, exported: Path, csv: Path
) -> None:
    options = ("--data", csv, "--split", "train", "--held-out")
    held = json.loads(fer_edge("evaluate", exported, *options, "0.5", "--json").out)
    assert held["score"]["n"] == len(hold_out(load_dataset(csv, "train"), 0.5)[1])
    assert "--held-out 1: above 0 and below 1" in fer_edge("evaluate", exported, *options, 1).error(
        2
    )


def test_a_lone_graph_is_taken_at_its_own_precision(
    fer_edge: Command, exported: Path, csv: Path
) -> None:
    graph = exported / "int8.cpu.onnx"
    assert "int8.cpu int8 on val" in fer_edge("evaluate", graph, "--data", csv).out
    error = fer_edge("evaluate", graph, "--data", csv, "--precision", "fp32").error(2)
    assert f"{graph} is int8, not fp32" in error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--data", "x", "--precision", "fp64"],
            "--precision fp64: choose from fp32, fp16, int8, fp8.",
        ),
        (["--data", "x", "--backend", "tpu"], "Unknown backend 'tpu'"),
        ([], "Missing option '--data'"),
    ],
)
def test_usage(options: list[str], says: str, fer_edge: Command, exported: Path) -> None:
    assert says in fer_edge("evaluate", exported, *options).error(2)


def test_bad_data_is_named(fer_edge: Command, exported: Path, bad_data: tuple[Path, str]) -> None:
    path, says = bad_data
    error = fer_edge("evaluate", exported, "--data", path).error()
    assert says in error
    assert str(path) in error


def test_a_run_is_told_to_be_exported_before_the_data_is_read(
    fer_edge: Command, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    error = fer_edge("evaluate", "run", "--data", "missing").error()
    assert "run is not an artifact" in error
    assert "fer-edge export RUN" in error


def test_no_matplotlib_is_met_before_the_data_is_read(
    fer_edge: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    error = fer_edge("evaluate", exported, "--data", "missing", "--out", "errors").error()
    assert "pip install 'fer-edge[plot]'" in error


def test_evaluating_needs_neither_torch_nor_onnx_nor_matplotlib(
    python: Callable[..., subprocess.Popen[str]], exported: Path, csv: Path
) -> None:
    packages = imported(python(IMPORTED, "evaluate", exported, "--data", csv))
    assert "onnxruntime" in packages
    assert not packages & {"torch", "torchvision", "onnx", "safetensors", "matplotlib"}


def test_groups_are_scored_with_intervals_and_drawn(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    fer_edge("evaluate", exported, "--data", csv, "--out", tmp_path / "first")
    names = [
        line.split(",")[0] for line in (tmp_path / "first/predictions.csv").read_text().splitlines()
    ]
    lines = [f"{name},{'odd' if i % 2 else 'even'}" for i, name in enumerate(names[1:])]
    groups = tmp_path / "groups.csv"
    groups.write_text("\n".join(["name,side", *lines, ""]))
    out = tmp_path / "audit"
    done = fer_edge(
        *("evaluate", exported, "--data", csv, "--groups", groups, "--min-group", 30, "--out", out)
    )
    assert done.code == 0
    assert "points above" in done.out
    assert (out / "groups.png").stat().st_size > 5000
    audit = json.loads((out / "evaluation.json").read_text())["audit"]
    assert [group["n"] for group in audit["groups"]] == [35, 35]
    missing = fer_edge("evaluate", exported, "--data", csv, "--groups", tmp_path / "none.csv")
    assert "none.csv" in missing.error()


def test_spoilt_faces_are_scored_and_drawn(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = fer_edge("evaluate", exported, "--data", csv, "--robustness", "--out", out)
    assert result.code == 0, result.err
    for fault in (
        "blurred (px",
        "dark (of",
        "small (px",
        "rotated (deg",
        "noisy (grey",
        "compressed",
    ):
        assert fault in result.out
    assert max(map(len, result.out.splitlines()[:-1])) <= 80
    assert (out / "robustness.png").stat().st_size > 5000
    record = json.loads((out / "evaluation.json").read_text())["score"]
    assert len(record["faults"]) == 18


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode there")
def test_a_name_that_is_not_utf8_is_written_out(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"n\xff.onnx")
    odd.write_bytes((exported / "fp32.onnx").read_bytes())
    assert fer_edge("evaluate", odd, "--data", csv, "--out", "errors").code == 0
    assert json.loads(Path("errors/evaluation.json").read_text())["model"] == "n\\xff"
