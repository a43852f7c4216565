"""On a real GPU, where there is one; bench/gpu.py runs them first."""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fer_edge.artifact import Artifact
from fer_edge.engines import cuda, open_engine
from fer_edge.engines.base import Faces
from fer_edge.engines.cuda.driver import VARIABLE
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.engines.tensorrt import (
    TENSORRT_BACKENDS,
    TensorRTBackend,
    TensorRTEngine,
    build_engine,
    inspect_engine,
)
from fer_edge.errors import BackendUnavailableError, EngineLoadError, FerEdgeError

from ..graphs import make_graph

MakeFaces = Callable[[int], Faces]
CARRIED = Path(__file__).parents[3] / "fer_edge/models/carried/compact"


def built(graph: bytes, backend: TensorRTBackend, *, max_batch: int) -> bytes:
    """A plan that this GPU runs; skips where TensorRT is missing, or is not for this GPU."""
    try:
        plan = build_engine(graph, backend, opt_batch=8, max_batch=max_batch)
        TensorRTEngine(plan, backend, precision="fp32").close()
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    except EngineLoadError as error:
        # TensorRT builds on the GPU that it then runs on; TensorRT-RTX supports few.
        if backend == "tensorrt":
            raise
        pytest.skip(str(error))
    return plan


@pytest.fixture
def real_gpu(monkeypatch: pytest.MonkeyPatch, real_package: str) -> str:
    monkeypatch.setenv(VARIABLE, real_package)
    try:
        cuda.require_cuda()
    except FerEdgeError as error:
        pytest.skip(str(error))
    return real_package


def arrays_on_the_gpu(faces: Faces) -> list[object]:
    """As those libraries hold them that are installed here."""
    found: list[object] = []
    for name in ("torch", "cupy", "numba.cuda"):
        with suppress(ImportError):
            library = importlib.import_module(name)
            if name == "torch" and library.cuda.is_available():
                found.append(library.from_numpy(faces).cuda(non_blocking=True))
            elif name == "cupy":
                found.append(library.asarray(faces))
            elif name == "numba.cuda":
                found.append(library.to_device(faces))
    return found


@pytest.mark.gpu
@pytest.mark.parametrize("real_package", ["cuda.bindings", "pycuda"])
@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 2e-3), ("fp16", 1e-2), ("int8", 1e-2)]
)
def test_agrees_with_onnx_runtime_on_a_real_gpu(
    real_gpu: str, backend: TensorRTBackend, precision: str, tolerance: float, faces: MakeFaces
) -> None:
    graph = make_graph(precision)
    plan = built(graph, backend, max_batch=64)
    batches = [faces(n) for n in (1, 64, 8, 8, 3, 200)]
    with (
        OnnxRuntimeEngine(graph) as reference,
        TensorRTEngine(plan, backend, precision=precision) as engine,
        ThreadPoolExecutor(3) as pool,
    ):
        launch = str(engine.describe().launch)
        assert launch.startswith("enqueue: PyCUDA" if real_gpu == "pycuda" else "CUDA graphs")
        for batch, probabilities in zip(batches, pool.map(engine.run, batches), strict=True):
            expected = reference.run(batch)
            np.testing.assert_allclose(probabilities, expected, atol=tolerance)
            for array in arrays_on_the_gpu(batch):
                np.testing.assert_allclose(engine.run(array), expected, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("real_package", ["cuda.bindings", "pycuda"])
@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
def test_many_threads_on_a_real_gpu(
    real_gpu: str,  # noqa: ARG001
    backend: TensorRTBackend,
    faces: MakeFaces,
) -> None:
    plan = built(make_graph(), backend, max_batch=8)
    batch = faces(20)

    def use(_: int) -> np.ndarray:
        with TensorRTEngine(plan, backend, precision="fp32") as engine:
            return engine.run(batch)

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(use, range(32))
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-5)


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    try:
        cuda.require_cuda()
    except FerEdgeError as error:
        pytest.skip(str(error))
    pytest.importorskip("tensorrt")


@pytest.mark.gpu
@pytest.mark.usefixtures("tensorrt")
def test_an_artifact_is_exported_and_opened_on_a_real_gpu(tmp_path: Path, faces: MakeFaces) -> None:
    pipeline = pytest.importorskip("fer_edge.export.pipeline")
    wanted = ["fp16", "int8"] + ["fp8"] * (cuda.compute_capability() >= (8, 9))
    out = tmp_path / "build"
    pipeline.export_model(CARRIED, out, precisions=wanted, backends=["tensorrt"])
    batch = faces(20)
    records = Artifact.load(out).manifest.engines
    assert [record.precision for record in records] == wanted
    for record in records:
        assert (record.gpu, record.not_inspected) == (cuda.device_name(), None)
        with (
            open_engine(out, precision=record.precision, backend="onnxruntime-cpu") as reference,
            open_engine(out, precision=record.precision, backend="tensorrt") as engine,
        ):
            same = engine.run(batch).argmax(1) == reference.run(batch).argmax(1)
            assert same.mean() >= 0.9, "noise is not sure of its label, and yet"
    with open_engine(out) as engine:
        assert engine.describe().backend == "tensorrt"


@pytest.mark.gpu
@pytest.mark.usefixtures("tensorrt")
def test_the_inspector_and_the_timing_cache_on_a_real_gpu(tmp_path: Path) -> None:
    timings = tmp_path / "timings"
    graph = make_graph("int8")
    options = {"opt_batch": 8, "max_batch": 8, "timing_cache": timings}
    plan = build_engine(graph, "tensorrt", **options)
    assert timings.stat().st_size > 0
    layers = inspect_engine(plan, "tensorrt", batch=8)
    assert layers
    assert any(layer.runs_int8 for layer in layers)
    for damaged in (b"rubbish", timings.read_bytes()[:-7]):
        timings.write_bytes(damaged)
        build_engine(graph, "tensorrt", **options)
