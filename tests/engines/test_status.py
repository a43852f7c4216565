import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME
from fer_edge.engines import BACKENDS, backend_status, cuda, status
from fer_edge.engines.trial import GRAPH, try_backend

from .simulated_builder import BuildingTensorRT


def test_every_backend_is_tried() -> None:
    found = {one.backend: one for one in backend_status()}
    assert tuple(found) == BACKENDS
    cpu = found["onnxruntime-cpu"]
    assert (cpu.version, cpu.can_run, cpu.can_build) == (onnxruntime.__version__, True, False)
    assert cpu.reason is None
    for one in found.values():
        assert one.can_run or (one.reason and one.hint)
        assert one.version or not one.available


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is of Python 3.11")
def test_modules_of_the_working_directory_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('somebody else')")
    monkeypatch.chdir(tmp_path)
    found = {one.backend: one for one in backend_status()}
    assert found["onnxruntime-cpu"].can_run


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    found = try_backend("tensorrt")
    assert not found.available
    assert found.version is None
    assert "fer-edge[tensorrt]" in str(found.hint)


@pytest.mark.skipif(cuda.cuda_available()[0], reason="has a GPU")
def test_rtx_builds_without_a_gpu_and_does_not_run() -> None:
    pytest.importorskip("tensorrt_rtx")
    found = try_backend("tensorrt-rtx")
    assert (found.can_build, found.can_run) == (True, False)
    assert "NVIDIA" in str(found.reason)


def test_with_a_gpu(building_tensorrt: BuildingTensorRT) -> None:
    building_tensorrt.gpu.capability = (8, 6)
    for backend in ("tensorrt", "tensorrt-rtx"):
        found = try_backend(backend)
        assert (found.version, found.can_build, found.can_run) == ("10.3.0", True, True)


def test_a_driver_that_is_too_old_is_no_yes(building_tensorrt: BuildingTensorRT) -> None:
    building_tensorrt.starts = False
    for backend in ("tensorrt", "tensorrt-rtx"):
        found = try_backend(backend)
        assert (found.version, found.can_build, found.can_run) == ("10.3.0", False, False)
        assert "driver is too old" in str(found.reason)


def test_a_gpu_that_rtx_refuses(building_tensorrt: BuildingTensorRT) -> None:
    building_tensorrt.gpu.capability = (9, 0)
    building_tensorrt.refusal = "Target GPU SM 90 is not supported by this TensorRT release."
    found = try_backend("tensorrt-rtx")
    assert (found.can_build, found.can_run) == (True, False)
    assert "Fake GPU has compute capability 9.0; NVIDIA lists 7.5, 8.6, 8.9," in str(found.reason)


def test_onnxruntime_on_cuda_does_not_need_cuda_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    assert "cuda" not in str(try_backend("onnxruntime-cuda").reason).split()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended the process that tried it (signal 11)"),
        ("raise SystemExit('no such library')", "(exit 1): no such library"),
        ("import time; time.sleep(60)", "did not start within 1 seconds"),
    ],
)
def test_a_library_that_takes_its_process_along(
    monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    run = subprocess.run
    monkeypatch.setattr(status, "SECONDS", 1.0)
    monkeypatch.setattr(
        subprocess, "run", lambda _, **how: run([sys.executable, "-c", script], **how)
    )
    found = status._try_apart("tensorrt")
    assert not found.available
    assert says in str(found.reason)


def test_what_a_library_prints_does_not_hide_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = status.to_json(try_backend("onnxruntime-cpu"))
    done = SimpleNamespace(returncode=0, stdout=f"hello\n{answer}\n", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert status._try_apart("onnxruntime-cpu").can_run
    assert json.loads(answer)["backend"] == "onnxruntime-cpu"


def test_the_graph_of_the_trial() -> None:
    model = onnx.load(GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Cast", "Conv", "Flatten", "Softmax"]
    session = onnxruntime.InferenceSession(GRAPH.read_bytes())
    faces = np.zeros((2, 1, 48, 48), np.uint8)
    assert session.run([OUTPUT_NAME], {INPUT_NAME: faces})[0].shape == (2, 7)
