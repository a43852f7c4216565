import subprocess
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from fer_edge.engines.base import Engine, Faces
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.errors import (
    BackendUnavailableError,
    EngineLoadError,
    InferenceError,
    InputError,
    UsageError,
)

from .graphs import make_graph, make_nan_graph, make_unsupported_graph

MakeFaces = Callable[[int], Faces]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_runs_every_precision(precision: str, faces: MakeFaces) -> None:
    batch = faces(5)
    with OnnxRuntimeEngine(make_graph("fp32")) as reference:
        expected = reference.run(batch)
    with OnnxRuntimeEngine(make_graph(precision)) as engine:
        probabilities = engine.run(batch)
        info = engine.describe()
    assert isinstance(engine, Engine)
    assert probabilities.shape == (5, 7)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities, expected, atol=0.02)
    assert np.ptp(expected, axis=0).max() > 0.02, "faces must differ for the line above to mean it"
    assert (info.backend, info.precision) == ("onnxruntime-cpu", precision)
    assert info.backend_version == onnxruntime.__version__
    assert (info.min_batch, info.max_batch) == (1, None)
    assert info.device


def test_precision_given_wins_and_fp32_is_the_default() -> None:
    unmarked = make_graph("int8", metadata=False)
    assert OnnxRuntimeEngine(unmarked).describe().precision == "fp32"
    assert OnnxRuntimeEngine(unmarked, precision="int8").describe().precision == "int8"


def test_static_batch_is_the_only_batch(faces: MakeFaces) -> None:
    engine = OnnxRuntimeEngine(make_graph(batch=4))
    assert (engine.describe().min_batch, engine.describe().max_batch) == (4, 4)
    assert engine.run(faces(4)).shape == (4, 7)
    with pytest.raises(InputError, match="takes 4 to 4 faces a call, got 3"):
        engine.run(faces(3))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 1, 48, 48), np.uint8), "takes 1 to any faces a call, got 0"),
        (np.zeros((2, 48, 48), np.uint8), r"got uint8 \(2, 48, 48\)"),
        (np.zeros((2, 1, 48, 48), np.float32), r"got float32 \(2, 1, 48, 48\)"),
    ],
)
def test_refuses_other_faces(bad: Faces, message: str) -> None:
    with pytest.raises(InputError, match=message):
        OnnxRuntimeEngine(make_graph()).run(bad)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (make_graph(size=16), r"takes faces uint8 \(N, 1, 16, 16\) to probabilities"),
        (make_graph(output="scores"), r"to scores float32 \(N, 7\); FER-Edge runs faces uint8"),
        (make_graph()[:-300], "protobuf parsing failed"),
        (b"", "No graph was found in the protobuf"),
        (make_unsupported_graph(), "Bogus"),
    ],
)
def test_refuses_what_is_not_a_fer_graph(graph: bytes, message: str) -> None:
    with pytest.raises(EngineLoadError, match=message) as caught:
        OnnxRuntimeEngine(graph)
    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(("Export", "Make an artifact"))


def test_nan_is_an_error() -> None:
    engine = OnnxRuntimeEngine(make_nan_graph())
    engine.run(np.ones((2, 1, 48, 48), np.uint8))
    with pytest.raises(InferenceError, match="onnxruntime-cpu returned NaN or infinity at fp32"):
        engine.run(np.zeros((2, 1, 48, 48), np.uint8))


def test_cuda_without_its_provider_names_the_package() -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(
        BackendUnavailableError, match="pip install 'onnxruntime-gpu\\[cuda,cudnn\\]'"
    ):
        OnnxRuntimeEngine(make_graph(), device="cuda")


def test_threads_below_one() -> None:
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        OnnxRuntimeEngine(make_graph(), threads=0)


def test_closed_engine_says_so(faces: MakeFaces) -> None:
    engine = OnnxRuntimeEngine(make_graph())
    engine.close()
    engine.close()
    with pytest.raises(InferenceError, match="closed"):
        engine.run(faces(1))


def test_a_closed_engine_frees_its_session() -> None:
    engine = OnnxRuntimeEngine(make_graph())
    session = weakref.ref(engine._network._handle)
    assert session() is not None
    engine.close()
    assert session() is None


def test_many_threads_at_once(faces: MakeFaces) -> None:
    engine = OnnxRuntimeEngine(make_graph(), threads=1)
    batches = [faces(n) for n in (1, 2, 3, 4)]
    expected = [engine.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(engine.run, batches * 20))
    for probabilities, right in zip(got, expected * 20, strict=True):
        np.testing.assert_array_equal(probabilities, right)


def test_importing_engines_loads_no_backend() -> None:
    heavy = {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda", "torch", "onnx"}
    heavy.add("pydantic")
    code = f"import sys, fer_edge.engines; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
