import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fer_edge.artifact import Artifact
from fer_edge.cli import export as command
from fer_edge.engines import backend_status
from fer_edge.evaluation import verdict
from fer_edge.export import pipeline
from fer_edge.export.targets import engine_file
from fer_edge.models import published
from fer_edge.models.published import Published
from tests.engines.graphs import make_graph
from tests.engines.simulated_builder import BuildingTensorRT

from .conftest import Command, Edit, leftovers

BARE = ("--engine", "none")
STOP_IN_CALIBRATION = """
import sys, time
from fer_edge.cli import main
from fer_edge.export import pipeline

def calibrate(*_, **__):
    print("calibrating", flush=True)
    time.sleep(60)

pipeline.calibrate = calibrate
main(sys.argv[1:])
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_three_precisions_calibrated_and_scored(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "build"
    options = ("--fp16", "--int8", "--data", csv, "--samples", 70, "--method", "entropy")
    result = fer_edge("export", exported, *options, "--out", out, *BARE)
    assert (result.code, result.err) == (0, "")
    assert f"Next: fer-edge bench {out} --data FER2013" in result.out
    artifact = Artifact.load(out)
    artifact.verify()
    assert list(artifact.manifest.graphs) == ["fp32", "fp16", "int8"]
    assert artifact.manifest.scores["int8"].n == 70
    for score in artifact.manifest.scores.values():
        assert f"│ {100 * (score.ece or 0):5.2f} │" in result.out
    assert artifact.manifest.calibration is not None
    assert artifact.manifest.calibration.method == "entropy"
    assert leftovers(tmp_path) == []


def test_the_proof_is_told_and_drawn(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    options = ("--fp8", "--int8", "--data", csv, "--samples", 35, "--method", "minmax")
    out = tmp_path / "build"
    sheet = tmp_path / "proof.png"
    result = fer_edge("export", exported, *options, "--proof", sheet, "--out", out, *BARE)
    assert (result.code, result.err) == (0, "")
    told = " ".join(result.out.split())
    assert f"The faces that changed: {sheet}" in told
    scores = Artifact.load(out).manifest.scores
    for precision in ("int8", "fp8"):
        assert f"{precision} {verdict(scores['fp32'], scores[precision])}." in told
        changed = scores[precision].changed
        assert changed == len(scores[precision].changed_faces)
    with Image.open(sheet) as image:
        assert image.format == "PNG"
    assert not list(out.rglob("*.png"))


def test_json_is_the_manifest(fer_edge: Command, exported: Path, tmp_path: Path) -> None:
    result = fer_edge("export", exported, "--out", tmp_path / "build", "--json", *BARE)
    told = json.loads(result.out)
    assert told.pop("artifact") == str(tmp_path / "build")
    assert told == json.loads((tmp_path / "build" / "manifest.json").read_text())


def test_the_table_of_an_artifact_stands_in_for_data(
    fer_edge: Command, exported: Path, tmp_path: Path
) -> None:
    assert fer_edge("export", exported, "--int8", "--out", tmp_path / "a", *BARE).code == 0
    table = ("--calibration", exported / "calibration.json")
    lone = exported / "fp32.onnx"
    assert fer_edge("export", lone, "--int8", *table, "--out", tmp_path / "b", *BARE).code == 0
    quantized = [(folder / "int8.onnx").read_bytes() for folder in (exported, tmp_path / "a")]
    assert quantized[0] == quantized[1] == (tmp_path / "b" / "int8.onnx").read_bytes()


def test_the_folder_is_named_after_the_source(fer_edge: Command, exported: Path) -> None:
    assert fer_edge("export", exported / "fp32.onnx", *BARE).code == 0
    assert Artifact.load(Path("build/fp32")).manifest.model == "plain"


def test_without_tensorrt_the_graphs_are_made_and_that_is_said(
    fer_edge: Command, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    result = fer_edge("export", exported, "--out", tmp_path / "build")
    assert result.code == 0
    assert "No engines: this machine has no TensorRT (see fer-edge doctor)." in result.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--method", "mean"], "--method mean: choose from auto, "),
        (["--calibration", "x.json"], "--calibration is for INT8 and FP8. Add --int8 or --fp8."),
        (["--int8", "--data", "x", "--calibration", "y"], "both tell the ranges. Choose one."),
        (["--batch", "0,1,2"], "--batch 0,1,2: 0 is not a batch size"),
        (["--int8", "--proof", "a.png"], "--proof shows what a lower precision changes on faces."),
        (["--robustness"], "--robustness is scored on faces. Add --data FER2013."),
        (["--int8", "--data", "x", "--proof", "a"], "--proof a is not a name for a PNG."),
        (["--batch", "8"], "give smallest,best,largest, for example 1,8,64"),
        (["--batch", "8,1,64"], "Batch range 8,1,64 is not 1 <= min <= opt <= max"),
        (["--engine", "openvino"], "choose from tensorrt, tensorrt-rtx or none."),
    ],
)
def test_usage(options: list[str], says: str, fer_edge: Command, exported: Path) -> None:
    assert says in fer_edge("export", exported, "--out", "build", *options).error(2)
    assert not Path("build").exists()


def test_an_engine_that_cannot_be_built_here_is_an_error(
    fer_edge: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    error = fer_edge("export", exported, "--engine", "tensorrt").error()
    assert "tensorrt cannot build here" in error
    assert "pip install 'fer-edge[tensorrt]'" in error


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("shape.onnx", make_graph(size=16), "does not take uint8 'faces' (N, 1 or 3, S, S)"),
        ("half.onnx", make_graph("fp16"), "is not a float32 graph"),
        ("int8.onnx", make_graph("int8"), "is not a float32 graph"),
        ("cut.onnx", make_graph()[:500], "is not a valid ONNX graph"),
        ("empty.onnx", b"", "is an empty file"),
        ("text.txt", b"hello", "is none of the files that hold networks"),
    ],
)
def test_what_cannot_be_exported_is_named(
    name: str, content: bytes, says: str, fer_edge: Command
) -> None:
    Path(name).write_bytes(content)
    error = fer_edge("export", name, "--out", "build", *BARE).error()
    assert f"{name} {says}" in error
    assert not Path("build").exists()


def test_no_source_is_an_error(fer_edge: Command, tmp_path: Path) -> None:
    assert "There is no model 'nowhere'" in fer_edge("export", "nowhere", *BARE).error()
    (tmp_path / "run").mkdir()
    error = fer_edge("export", "run", *BARE).error()
    assert "run is neither an artifact nor a training run" in error


def test_int8_of_a_foreign_graph_that_keeps_the_contract(fer_edge: Command, csv: Path) -> None:
    """Its nodes have no names: it is normalised on the way."""
    Path("foreign.onnx").write_bytes(make_graph())
    options = ("--int8", "--data", csv, "--samples", 70, "--method", "minmax")
    assert fer_edge("export", "foreign.onnx", *options, "--out", "built", *BARE).code == 0
    assert set(Artifact.load(Path("built")).manifest.scores) == {"fp32", "int8"}


def test_int8_without_ranges_says_where_to_get_them(fer_edge: Command, exported: Path) -> None:
    error = fer_edge("export", exported / "fp32.onnx", "--int8", *BARE).error()
    assert "INT8 and FP8 need the activation ranges of plain" in error
    assert "--data FER2013" in error


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"schema_version": 1}'])
def test_what_is_no_calibration_table_is_named(
    content: bytes, fer_edge: Command, exported: Path
) -> None:
    Path("table.json").write_bytes(content)
    options = ("--int8", "--calibration", "table.json")
    error = fer_edge("export", exported, *options, *BARE).error()
    assert error.startswith("table.json is not a calibration table: ")
    assert ": :" not in error


def test_a_table_of_another_model_is_refused(fer_edge: Command, artifact: Path) -> None:
    path = artifact / "calibration.json"
    table = json.loads(path.read_text())
    table["graph"] = "0" * 64
    Path("table.json").write_text(json.dumps(table))
    options = ("--int8", "--calibration", "table.json")
    error = fer_edge("export", artifact, *options, *BARE).error()
    assert "is of other weights of plain" in error


def test_bad_data_is_named(fer_edge: Command, exported: Path, bad_data: tuple[Path, str]) -> None:
    path, says = bad_data
    options = ("--int8", "--data", path, "--out", "build")
    assert says in fer_edge("export", exported, *options, *BARE).error()
    assert not Path("build").exists()


def test_a_published_model_goes_by_its_name_into_build(
    fer_edge: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Published("large", exported, "large-model", "1.5", "MIT")
    monkeypatch.setattr(published, "published_models", lambda: {"large": found})
    result = fer_edge("export", "large", *BARE)
    assert (result.code, result.err) == (0, "")
    Artifact.load(Path("build/large")).verify()


@pytest.mark.parametrize("options", [(), ("--int8", "--half-weights")])
def test_int8_weights_are_refused_without_an_int8_graph_of_their_own(
    fer_edge: Command, exported: Path, options: tuple[str, ...]
) -> None:
    error = fer_edge("export", exported, *options, "--int8-weights").error(2)
    assert "Add --int8, and leave out --half-weights." in error


def test_a_damaged_artifact_is_not_exported(fer_edge: Command, artifact: Path, edit: Edit) -> None:
    with (artifact / "fp32.onnx").open("ab") as stream:
        stream.write(b"x")
    error = fer_edge("export", artifact, *BARE).error()
    assert f"{artifact}/fp32.onnx does not match the hash" in error
    edit(lambda manifest: manifest["graphs"].pop("fp32"))
    assert "has no fp32 graph" in fer_edge("export", artifact, *BARE).error()


def test_a_folder_that_is_no_artifact_is_left_alone(
    fer_edge: Command, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    error = fer_edge("export", exported, "--out", "thesis", *BARE).error(2)
    assert "thesis exists and is not an artifact; it is left as it is" in error
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "precious"


def test_a_bad_folder_is_met_before_the_data_is_read(fer_edge: Command, exported: Path) -> None:
    Path("thesis").touch()
    options = ("--data", "missing", "--out", "thesis")
    assert "thesis exists" in fer_edge("export", exported, *options, *BARE).error(2)


def test_an_artifact_is_not_exported_over_itself(fer_edge: Command, artifact: Path) -> None:
    before = contents(artifact)
    error = fer_edge("export", artifact, "--out", artifact, *BARE).error(2)
    assert "is what is being exported" in error
    assert contents(artifact) == before


def test_no_space_left_leaves_the_old_artifact(
    fer_edge: Command,
    exported: Path,
    artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pipeline, "seal", full)
    before = contents(artifact)
    error = fer_edge("export", exported, "--out", artifact, *BARE).error()
    assert error == (
        f"Cannot access {artifact}: No space left on device. "
        "Free some space or choose another place."
    )
    assert contents(artifact) == before
    assert leftovers(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(
    fer_edge: Command, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    error = fer_edge("export", exported, "--out", tmp_path / "file" / "build", *BARE).error()
    assert f"Cannot access {tmp_path / 'file'}" in error
    assert ".tmp" not in error


def test_ctrl_c_leaves_the_old_artifact(
    python: Callable[..., subprocess.Popen[str]],
    exported: Path,
    artifact: Path,
    csv: Path,
    tmp_path: Path,
) -> None:
    before = contents(artifact)
    options = ("--int8", "--data", csv, "--out", artifact)
    process = python(STOP_IN_CALIBRATION, "export", exported, *options, *BARE)
    assert process.stdout is not None
    assert process.stdout.readline() == "calibrating\n"
    assert leftovers(tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (1, "")
    assert err == "error: Interrupted; nothing half-written is left.\n"
    assert contents(artifact) == before
    assert leftovers(tmp_path) == []


def test_no_onnx_says_what_to_install(
    fer_edge: Command, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fer_edge.export.pipeline", None)
    assert "pip install 'fer-edge[export]'" in fer_edge("export", exported).error()


@pytest.mark.skipif(
    not any(s.can_build for s in backend_status() if s.backend == "tensorrt-rtx"),
    reason="needs tensorrt-rtx",
)
def test_ctrl_c_reaches_a_build(
    fer_edge: Command, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_file, "build_engine", stop)
    options = ("--engine", "tensorrt-rtx", "--out", "build")
    assert "Interrupted" in fer_edge("export", exported, *options).error()
    assert not Path("build").exists()
    assert leftovers(tmp_path) == []


def test_backends_come_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.engines.trial.try_to_build", lambda _: None)
    both = ["tensorrt", "tensorrt-rtx"]
    assert command.engine_backends(None, "auto") == both
    assert command.engine_backends(both[::-1], "auto") == both
    assert command.engine_backends(["none"], "auto") == []


def test_a_budget_is_searched_for_and_recorded(
    fer_edge: Command, exported: Path, csv: Path
) -> None:
    options = ("--int8", "--data", csv, "--samples", 70, "--max-drop", 100, "--out", "out", *BARE)
    assert fer_edge("export", exported, *options).code == 0
    table = json.loads(Path("out/calibration.json").read_text())
    assert table["kept"] == {}
    assert set(table["sensitivity"]) == {"stem", "a", "b"}


def test_a_budget_that_cannot_be_met_writes_nothing_unless_asked_to(
    fer_edge: Command, exported: Path, csv: Path
) -> None:
    options = ("--int8", "--data", csv, "--samples", 70, "--max-drop", -101, "--out", "out", *BARE)
    error = fer_edge("export", exported, *options).error()
    assert "No INT8 graph of plain stays within -101 points of fp32: the best loses" in error
    assert "--best-effort" in error
    assert not Path("out").exists()
    assert fer_edge("export", exported, *options, "--best-effort").code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--int8", "--max-drop", "0.2"], "--max-drop is for INT8 measured on faces"),
        (["--best-effort"], "--best-effort is for --max-drop"),
    ],
)
def test_budget_usage(options: list[str], says: str, fer_edge: Command, exported: Path) -> None:
    assert says in fer_edge("export", exported, *options).error(2)


class TestEngines:
    """On a GPU with a builder, both simulated."""

    def test_fp32_has_an_engine_on_request(
        self, fer_edge: Command, exported: Path, building_tensorrt: BuildingTensorRT
    ) -> None:
        options = ("--fp16", "--engine", "tensorrt", "--out")
        assert fer_edge("export", exported, *options, "a").code == 0
        assert [plan["precision"] for plan in building_tensorrt.built] == ["fp16"]
        building_tensorrt.built.clear()
        assert fer_edge("export", exported, "--fp32-engine", *options, "b").code == 0
        assert [(plan["precision"], plan["tf32"]) for plan in building_tensorrt.built] == [
            ("fp32", False),
            ("fp16", True),
        ]

    def test_fp8_on_a_gpu_without_it_loses_no_export(
        self, fer_edge: Command, exported: Path, building_tensorrt: BuildingTensorRT
    ) -> None:
        building_tensorrt.gpu.capability = (8, 7)
        made = fer_edge("export", exported, "--fp8", "--fp16", "--out", "build")
        assert (made.code, made.err) == (0, "")
        says = "No fp8 engine for tensorrt: Fake GPU has compute capability 8.7, and FP8 needs 8.9."
        assert says in made.out
        engines = Artifact.load(Path("build")).manifest.engines
        assert {(one.backend, one.precision) for one in engines} == {
            ("tensorrt", "fp16"),
            ("tensorrt-rtx", "fp16"),
            ("tensorrt-rtx", "fp8"),
        }

    def test_fp8_for_an_engine_that_was_named_is_an_error_before_any_work(
        self,
        fer_edge: Command,
        exported: Path,
        building_tensorrt: BuildingTensorRT,  # noqa: ARG002
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(pipeline, "open_source", None)
        error = fer_edge("export", exported, "--fp8", "--engine", "tensorrt").error()
        assert "has compute capability 8.7, and FP8 needs 8.9. Leave out --fp8, or" in error

    @pytest.mark.usefixtures("building_tensorrt")
    def test_devices(self, fer_edge: Command, exported: Path) -> None:
        named = fer_edge("export", exported, "--device", "cpu", "--engine", "tensorrt")
        assert "Engines are built for GPUs. Drop --device cpu, or --engine" in named.error(2)
        assert fer_edge("export", exported, "--device", "cpu", "--out", "a").code == 0
        assert not Artifact.load(Path("a")).manifest.engines
        assert "Unknown device 'gpu0'" in fer_edge("export", exported, "--device", "gpu0").error(2)


def test_models_for_triton(fer_edge: Command, tmp_path: Path) -> None:
    result = fer_edge("export", "--engine", "none", "--out", "build", "--triton", "models")
    assert result.code == 0, result.err
    line = next(line for line in result.out.splitlines() if "Triton" in line)
    assert line == "Models for Triton in models: compact_fp32"
    found = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "models").rglob("*.*"))
    assert found == [
        "models/compact_fp32/1/model.onnx",
        "models/compact_fp32/config.pbtxt",
        "models/compact_fp32/deepstream/config_infer.txt",
        "models/compact_fp32/deepstream/labels.txt",
        "models/compact_fp32/deepstream/model.onnx",
        "models/compact_fp32/labels.txt",
    ]


def test_spoilt_faces_are_scored_for_the_card(
    fer_edge: Command, exported: Path, csv: Path, tmp_path: Path
) -> None:
    out = tmp_path / "build"
    result = fer_edge("export", exported, "--data", csv, "--robustness", "--out", out, *BARE)
    assert (result.code, result.err) == (0, "")
    assert "| rotated | 30 degrees |" in fer_edge("info", out, "--card").out
