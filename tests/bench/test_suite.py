import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from fer_edge.artifact import Artifact, seal
from fer_edge.bench import latency, memory, plot
from fer_edge.bench.machine import describe_machine
from fer_edge.bench.memory import measure_peak_memory
from fer_edge.bench.plot import plot_bench
from fer_edge.bench.report import render
from fer_edge.bench.suite import BenchResult, run_bench
from fer_edge.data import FaceDataset
from fer_edge.errors import ArtifactError, InferenceError, MissingDependencyError, UsageError
from fer_edge.evaluation import score
from tests.tiny import FakeEngine, classify, tiny_artifact

FACES = np.random.default_rng(0).integers(0, 256, (200, 48, 48), dtype=np.uint8)
DATASET = FaceDataset.from_arrays(FACES, classify(FACES).argmax(1), "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Artifact that is always right at fp32, guesses at int8, and has a score on record."""
    folder = tmp_path_factory.mktemp("bench") / "build"
    artifact = tiny_artifact(folder, "fp32", "int8")
    artifact.manifest.scores["fp32"] = score(FakeEngine(), DATASET)[0]
    seal(folder, artifact.manifest)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """The bench with data and without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "WARM_UP_S", 0.0)
        patch.setattr(sys, "argv", ["/usr/bin/fer-edge", "bench", "my build"])
        stages = []
        scored = run_bench(
            folder,
            data=DATASET,
            batches=(8, 1),
            seconds=0.01,
            progress=lambda stage, done: stages.append((stage, done)),
        )
        plain = run_bench(folder, batches=[4], precisions=["int8"], seconds=0.01)
    assert {stage for stage, done in stages if done == 1.0} == {
        *("Latency at batch 1", "Latency at batch 8"),
        *("Accuracy of fp32", "Accuracy of int8", "Memory of fp32", "Memory of int8"),
    }
    return scored, plain


def text(result):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(render(result))
    return console.export_text()


def test_the_bench_measures_every_precision_at_every_batch(results, folder):
    fp32, int8 = results[0].precisions
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    for row in (fp32, int8):
        assert [entry.batch for entry in row.latency] == [1, 8]
        assert row.backend == "onnxruntime-cpu"
        assert row.size_bytes == (folder / f"{row.precision}.onnx").stat().st_size
    for own, base in zip(int8.latency, fp32.latency, strict=True):
        assert base.speedup_vs_fp32 == 1.0
        assert own.speedup_vs_fp32 == pytest.approx(own.faces_per_second / base.faces_per_second)


def test_the_size_is_that_of_all_that_is_loaded(tmp_path):
    artifact = tiny_artifact(tmp_path / "build", "fp32")
    model = onnx.load(artifact.folder / "fp32.onnx")
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(model, artifact.folder / "fp32.onnx", **options)
    seal(artifact.folder, artifact.manifest)
    (row,) = run_bench(artifact.folder, batches=[1], seconds=0.01).precisions
    files = [artifact.folder / name for name in ("fp32.onnx", "weights.bin")]
    assert row.size_bytes == sum(file.stat().st_size for file in files)


def test_openvino_is_measured_and_says_what_it_computes_in(folder):
    result = run_bench(folder, batches=[2], backend="openvino", threads=1, seconds=0.01)
    for row in result.precisions:
        assert (row.backend, row.inference_precision) == ("openvino", "f32")
        assert row.file == f"{row.precision}.onnx"
        assert row.peak_memory_mib > 20
    version = result.precisions[0].backend_version
    assert result.machine.packages["openvino"] == version
    assert f"openvino {version} f32" in text(result)


def test_scores_are_measured_with_data_and_only_recorded_without(results):
    fp32, int8 = results[0].precisions
    assert fp32.score.accuracy == fp32.recorded_score.accuracy == 1.0
    assert fp32.score.agreement_with_fp32 is None
    assert int8.score.accuracy == int8.score.agreement_with_fp32 < 0.5
    assert int8.score.mcnemar_p < 1e-6
    (alone,) = results[1].precisions
    assert alone.score is alone.recorded_score is alone.latency[0].speedup_vs_fp32 is None


def test_a_result_is_json_with_machine_command_and_versions(results):
    raw = json.loads(results[0].model_dump_json())
    assert BenchResult.model_validate(raw) == results[0]
    assert raw["command"] == "fer-edge bench 'my build'"
    assert raw["machine"]["packages"].keys() >= {"fer-edge", "onnxruntime", "numpy"}
    assert raw["precisions"][1]["latency"][0]["speedup_vs_fp32"] > 0


def test_the_report_shows_what_was_measured(results):
    shown = text(results[0])
    assert "100.00 ± 0.00" in shown
    assert "Accuracy in %, measured" in shown
    assert "--data" not in shown
    assert f"{results[0].precisions[1].latency[1].speedup_vs_fp32:.2f}x" in shown


def test_the_report_without_data_says_so_and_marks_what_is_recorded(results, folder):
    assert "needs data (--data" in text(results[1])
    assert "recorded" not in text(results[1])
    recorded = results[1].model_copy(deep=True)
    recorded.precisions[0].recorded_score = Artifact.load(folder).manifest.scores["fp32"]
    assert "Accuracy in %, recorded in the manifest" in text(recorded)


def test_names_are_neither_markup_nor_formulas(results, tmp_path):
    named = results[0].model_copy(deep=True)
    named.model = "cost $5_$ [/b]"
    named.labels = ("angry[/x]", *named.labels[1:])
    assert "Angry[/x]" in "".join(text(named).split())
    plot_bench(named, tmp_path / "bench.png")


@pytest.mark.parametrize("which", [0, 1], ids=["accuracy", "throughput"])
def test_the_plot_is_a_png(results, which, tmp_path):
    plot_bench(results[which], tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["bench.png"]


def test_the_plot_refuses_other_names_and_says_what_to_install(results, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"bench\.jpg is not a name for a PNG"):
        plot_bench(results[0], tmp_path / "bench.jpg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"fer-edge\[plot\]"):
        plot.plot_bench(results[0], tmp_path / "bench.png")


def test_batches_and_precisions_that_are_not_there_are_refused(folder, tmp_path):
    for batches in ((), (0, 8)):
        with pytest.raises(UsageError, match="Batch sizes must be 1 or more"):
            run_bench(folder, batches=batches)
    with pytest.raises(ArtifactError, match="no fp16 graph"):
        run_bench(folder, precisions=["fp16"])
    with pytest.raises(ArtifactError, match="not an artifact"):
        run_bench(tmp_path)
    tiny_artifact(tmp_path / "empty")
    with pytest.raises(UsageError, match="no graph to measure"):
        run_bench(tmp_path / "empty")


def test_peak_memory_is_of_a_process_of_its_own(folder):
    settings = {"precision": "fp32", "backend": "onnxruntime-cpu", "threads": 1}
    ballast = np.ones(2**28 // 8)
    small = measure_peak_memory(folder, batch=1, **settings)
    assert 20 < small < 2**8
    # 16384 faces are 36 MiB, and 144 MiB as the float32 that the graph makes of them.
    assert measure_peak_memory(folder, batch=16384, **settings) > small + 36 + 144
    del ballast


def test_a_system_that_keeps_no_peak_has_none(monkeypatch):
    monkeypatch.setattr(memory.platform, "system", lambda: "Linux")
    monkeypatch.setattr(Path, "read_text", lambda _: "Name:\tpython\nVmRSS:\t9 kB\n")
    assert memory._peak_mib() is None


def test_a_process_that_fails_without_a_word_is_told(folder, monkeypatch):
    done = subprocess.CompletedProcess([], 3, "", "")
    monkeypatch.setattr(memory.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(InferenceError, match="failed: exit status 3"):
        measure_peak_memory(folder, precision="fp32", backend="auto", threads=1, batch=1)


def test_a_model_that_cannot_run_alone_says_why(tmp_path):
    with pytest.raises(InferenceError, match=r"at fp32 failed: .* is not an artifact"):
        measure_peak_memory(
            tmp_path, precision="fp32", backend="onnxruntime-cpu", threads=1, batch=1
        )


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.memory_gib is None or machine.memory_gib > 0.1
    assert machine.packages["numpy"] == np.__version__
