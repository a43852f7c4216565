import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.bench import suite
from tests.engines.simulated_builder import BuildingTensorRT

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
    assert (
        "There is no model 'nowhere'" in fer_edge("bench", "nowhere", "--data", "missing").error()
    )


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


class TestTensorRT:
    """On a simulated GPU."""

    @pytest.fixture
    def built(
        self,
        fer_edge: Command,
        exported: Path,
        building_tensorrt: BuildingTensorRT,  # noqa: ARG002
        monkeypatch: pytest.MonkeyPatch,
    ) -> Callable[..., Path]:
        """Export with engines of TensorRT; memory is measured in a process without the GPU."""
        monkeypatch.setattr(suite, "measure_peak_memory", lambda *_, **__: None)

        def build(*options: str) -> Path:
            out = Path("build")
            options = (*options, "--engine", "tensorrt", "--batch", "1,4,16", "--out", str(out))
            assert fer_edge("export", exported, *options).code == 0
            return out

        return build

    def test_precisions_that_have_engines_are_measured_and_the_others_named(
        self, fer_edge: Command, built: Callable[..., Path]
    ) -> None:
        out = built("--fp16", "--int8")
        result = fer_edge("bench", out, "--backend", "tensorrt", "--json", *QUICK)
        told = json.loads(result.out)
        assert [(row["precision"], row["backend"]) for row in told["precisions"]] == [
            ("fp16", "tensorrt"),
            ("int8", "tensorrt"),
        ]
        assert {Path(row["file"]).suffix for row in told["precisions"]} == {".engine"}
        assert all(row["latency"][0]["speedup_vs_fp32"] is None for row in told["precisions"])
        (command,) = told["left_out"].values()
        assert command == (
            "fer-edge export build --fp16 --int8 --fp32-engine --engine tensorrt --out FOLDER"
        )
        shown = fer_edge("bench", out, "--backend", "tensorrt", *QUICK).out
        assert "fp32 has no engine for tensorrt. Build one with: fer-edge export build" in " ".join(
            shown.split()
        )
        assert max(map(len, shown.splitlines())) <= 80

    def test_the_command_that_is_named_gives_the_ratio(
        self, fer_edge: Command, built: Callable[..., Path]
    ) -> None:
        out = built("--fp16", "--fp32-engine")
        told = json.loads(fer_edge("bench", out, "--backend", "tensorrt", "--json", *QUICK).out)
        fp32, fp16 = told["precisions"]
        assert (fp32["precision"], fp32["backend"]) == ("fp32", "tensorrt")
        assert fp32["latency"][0]["speedup_vs_fp32"] == 1.0
        assert fp16["latency"][0]["speedup_vs_fp32"] > 0
        assert told["left_out"] == {}

    def test_no_ratio_between_backends(self, fer_edge: Command, built: Callable[..., Path]) -> None:
        result = fer_edge("bench", built("--fp16"), *QUICK)
        lines = " ".join(result.out.split())
        assert "tensorrt 10.3.0" in lines
        assert "vs fp32 compares within one backend, and fp32 ran on onnxruntime-cpu" in lines
        latency = next(line for line in result.out.splitlines() if line.startswith("fp16 "))
        assert latency.split()[-2] == "-"

    def test_a_precision_without_an_engine_names_a_command_that_works(
        self, fer_edge: Command, built: Callable[..., Path], building_tensorrt: BuildingTensorRT
    ) -> None:
        out = built("--fp16")
        asked = ("bench", out, "--backend", "tensorrt", *QUICK, "--precision", "fp32")
        error = fer_edge(*asked).error()
        command = error.partition("Build one with: fer-edge ")[2]
        words = shlex.split(command.replace("FOLDER", "again"))
        assert fer_edge(*words).code == 0
        assert fer_edge("bench", "again", *asked[2:]).code == 0
        assert building_tensorrt.built[-2]["precision"] == "fp32"

    def test_what_auto_passed_over_is_said(
        self, fer_edge: Command, built: Callable[..., Path], building_tensorrt: BuildingTensorRT
    ) -> None:
        out = built("--fp16")
        building_tensorrt.refusal = "Unsupported SM: 0x900"
        shown = " ".join(fer_edge("bench", out, *QUICK).out.split())
        assert "fp16 passed over engines/tensorrt-10.3.0-fp16.engine: tensorrt 10.3.0" in shown


def test_device(fer_edge: Command, exported: Path) -> None:
    assert "Unknown device 'tpu'" in fer_edge("bench", exported, "--device", "tpu").error(2)
    options = ("--device", "cpu", "--precision", "fp32", "--json", *QUICK)
    (row,) = json.loads(fer_edge("bench", exported, *options).out)["precisions"]
    assert row["backend"] == "onnxruntime-cpu"


def test_against_a_baseline_the_exit_status_tells(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    old, run = tmp_path / "old.json", ("bench", exported, "--batch", 1, "--seconds", 0.1)
    fer_edge(*run, "--data", csv, "--out", old)
    same = fer_edge(*run, "--data", csv, "--baseline", old, "--max-drop", 0.2)
    assert same.code == 0
    assert "Against the baseline" in same.out
    before = json.loads(old.read_text())
    for row in before["precisions"]:
        row["score"]["accuracy"] += 0.1
        row["latency"][0].update(p50_ms=1e-4, p50_interval_ms=None)
    old.write_text(json.dumps(before))
    assert fer_edge(*run, "--data", csv, "--baseline", old, "--max-drop", 0.2).code == 1
    slower = fer_edge(*run, "--baseline", old, "--max-slowdown", 5, "--json")
    assert slower.code == 1
    assert all(change["beyond"] for change in json.loads(slower.out)["changes"])
    assert "Add --baseline" in fer_edge(*run, "--max-drop", 0.2).error(2)


def test_scenarios_are_served_and_named(fer_edge: Command, exported: Path) -> None:
    run = ("bench", exported, "--batch", 1, "--seconds", 0.1, "--precision", "int8")
    done = fer_edge(*run, "--scenario", "single-stream", "--scenario", "offline")
    assert done.code == 0
    assert "single-stream" in done.out
    assert "offline" in done.out
    assert "choose from all, single-stream" in fer_edge(*run, "--scenario", "stream").error(2)


def test_several_processes_are_timed(fer_edge: Command, exported: Path) -> None:
    run = ("bench", exported, "--batch", 1, "--seconds", 0.1, "--precision", "int8", "--json")
    result = json.loads(fer_edge(*run, "--processes", 2).out)
    assert result["processes"] == 2
    low, high = result["precisions"][0]["latency"][0]["p50_interval_ms"]
    assert low <= result["precisions"][0]["latency"][0]["p50_ms"] <= high


@pytest.fixture
def baseline(fer_edge: Command, exported: Path, csv: Path, tmp_path: Path) -> Path:
    """What an earlier run wrote, with accuracy."""
    path = tmp_path / "old.json"
    assert fer_edge("bench", exported, *QUICK, "--data", csv, "--out", path).code == 0
    return path


def test_a_baseline_that_cannot_be_held_against_is_met_before_the_measurement(
    fer_edge: Command, exported: Path, baseline: Path, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "run_bench", lambda *_, **__: pytest.fail("It was measured."))
    run = ("bench", exported, "--baseline", baseline)
    assert "--max-drop needs accuracy" in fer_edge(*run, "--max-drop", 0.2).error(2)
    train = (*run, "--data", csv, "--split", "train")
    assert "--max-drop needs accuracy" in fer_edge(*train, "--max-drop", 0.2).error(2)
    none = "The baseline has none of these precisions and batch sizes."
    assert none in fer_edge(*run, "--batch", 3, "--max-slowdown", 5).error(2)
    told = json.loads(baseline.read_text())
    told["machine"]["cpu"] = "Another"
    baseline.write_text(json.dumps(told))
    error = fer_edge(*run, "--max-slowdown", 5, "--out", "new.json").error(2)
    assert "The baseline was timed on Another, " in error


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_was_measured_is_shown_and_written_where_no_limit_can_be_held(
    fer_edge: Command, exported: Path, baseline: Path, options: tuple[str, ...]
) -> None:
    told = json.loads(baseline.read_text())
    for row in told["precisions"]:
        # Which backend runs is known only after the engines were opened.
        row["backend"] = "another"
    baseline.write_text(json.dumps(told))
    limits = ("--baseline", baseline, "--max-slowdown", 5)
    result = fer_edge("bench", exported, *QUICK, *limits, "--out", "new.json", *options)
    assert result.code == 2
    assert "none of these precisions" in result.err
    assert '"faces_per_second"' in result.out if options else "Faces/s" in result.out
    assert json.loads(Path("new.json").read_text())["precisions"]


def test_a_baseline_is_not_written_over(fer_edge: Command, exported: Path, baseline: Path) -> None:
    before = baseline.read_bytes()
    run = ("bench", exported, *QUICK, "--baseline", baseline)
    assert "old.json is what is read" in fer_edge(*run, "--out", baseline).error(2)
    assert baseline.read_bytes() == before


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot be told")
def test_modules_in_the_working_directory_are_not_taken(
    fer_edge: Command, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken')")
    run = ("bench", exported, *QUICK, "--precision", "int8", "--processes", 2)
    assert fer_edge(*run).code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode there")
def test_a_name_that_is_not_utf8_is_written_out(
    fer_edge: Command, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = artifact.rename(artifact.with_name(os.fsdecode(b"m\xffx")))
    run = ["bench", odd, *QUICK, "--precision", "int8", "--processes", 2, "--out", "x.json"]
    monkeypatch.setattr(sys, "argv", ["fer-edge", *map(str, run)])
    assert fer_edge(*run).code == 0
    told = json.loads(Path("x.json").read_text())
    assert told["artifact"].endswith("m\\xffx")
    assert "m\\xffx" in told["command"]
