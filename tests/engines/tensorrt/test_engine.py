import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fer_edge.contract import OUTPUT_NAME
from fer_edge.engines import cuda
from fer_edge.engines.base import Engine, Faces
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.engines.tensorrt import (
    TENSORRT_BACKENDS,
    TensorRTBackend,
    TensorRTEngine,
    build_engine,
    module_version,
)
from fer_edge.engines.tensorrt.engine import deserialize
from fer_edge.errors import (
    BackendUnavailableError,
    EngineLoadError,
    InferenceError,
    InputError,
)

from ..fakes import FakeCuda, FakeError, FakeTensorRT, expected_of_fake
from ..graphs import make_graph

MakeFaces = Callable[[int], Faces]


def open_fake() -> TensorRTEngine:
    return TensorRTEngine(b"plan", "tensorrt", precision="fp16")


def test_answers_are_those_of_the_batch(fake_tensorrt: FakeTensorRT, faces: MakeFaces) -> None:
    with open_fake() as engine:
        info = engine.describe()
        for n in (8, 2, 3, 3, 8):
            batch = faces(n)
            np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))
    assert isinstance(engine, Engine)
    assert (info.backend, info.backend_version, info.precision) == ("tensorrt", "10.3.0", "fp16")
    assert (info.device, info.min_batch, info.max_batch) == ("Fake GPU", 2, 8)
    assert not fake_tensorrt.cuda.live


@pytest.mark.usefixtures("fake_tensorrt")
def test_answers_are_the_callers_to_keep(faces: MakeFaces) -> None:
    with open_fake() as engine:
        batch = faces(4)
        kept = engine.run(batch)
        engine.run(255 - batch)
    np.testing.assert_array_equal(kept, expected_of_fake(batch))


@pytest.mark.usefixtures("fake_tensorrt")
def test_takes_faces_that_are_not_contiguous(faces: MakeFaces) -> None:
    mirrored = faces(4)[:, :, :, ::-1]
    with open_fake() as engine:
        np.testing.assert_array_equal(engine.run(mirrored), expected_of_fake(mirrored))


@pytest.mark.usefixtures("fake_tensorrt")
@pytest.mark.parametrize("n", [0, 1, 9])
def test_batch_out_of_range(n: int, faces: MakeFaces) -> None:
    with open_fake() as engine, pytest.raises(InputError, match=f"takes 2 to 8 .* got {n}"):
        engine.run(faces(n))


def test_one_batch_at_a_time(fake_tensorrt: FakeTensorRT, faces: MakeFaces) -> None:
    running = []
    most = 0

    def notice() -> None:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        time.sleep(1e-4)
        running.pop()

    fake_tensorrt.during_execution = notice
    batches = [faces(n % 7 + 2) for n in range(100)]
    with open_fake() as engine, ThreadPoolExecutor(8) as pool:
        for batch, probabilities in zip(batches, pool.map(engine.run, batches), strict=True):
            np.testing.assert_array_equal(probabilities, expected_of_fake(batch))
    assert most == 1


def test_every_run_names_its_device(fake_tensorrt: FakeTensorRT, faces: MakeFaces) -> None:
    engine = open_fake()
    fake_tensorrt.cuda.calls.clear()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(engine.run, faces(2)).result()
    assert fake_tensorrt.cuda.calls[0] == "cudaSetDevice"


def test_close_frees_all_and_may_repeat(fake_tensorrt: FakeTensorRT, faces: MakeFaces) -> None:
    engine = open_fake()
    assert len(fake_tensorrt.cuda.live) == 5
    engine.close()
    engine.close()
    assert not fake_tensorrt.cuda.live
    assert fake_tensorrt.deleted == ["context", "engine", "runtime"]
    with pytest.raises(InferenceError, match="closed"):
        engine.run(faces(2))


@pytest.mark.parametrize("succeed", range(5))
def test_out_of_memory_while_opening_frees_all(fake_tensorrt: FakeTensorRT, succeed: int) -> None:
    fake_tensorrt.cuda.fail_after = succeed
    with pytest.raises(EngineLoadError, match=r"out of memory.*smaller --batch"):
        open_fake()
    assert not fake_tensorrt.cuda.live


def test_no_execution_context_frees_all(fake_tensorrt: FakeTensorRT) -> None:
    fake_tensorrt.context_works = False
    with pytest.raises(EngineLoadError, match="cannot make an execution context"):
        open_fake()
    assert not fake_tensorrt.cuda.live


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (
            "6: The engine plan file is not compatible with this version of TensorRT, expecting "
            "library version 10.3.0 got 8.6.1, please rebuild.",
            r"built by another version \(6: The engine plan file.* got 8.6.1",
        ),
        (
            "6: The engine plan file is generated on an incompatible device, expecting compute "
            "8.7 got compute 8.9, please rebuild.",
            r"built for another GPU \(.*got compute 8.9",
        ),
        (
            "IRuntime::deserializeCudaEngine: Error Code 2: Internal Error (odd)",
            "Internal Error: odd",
        ),
    ],
)
def test_refused_plan_says_why(fake_tensorrt: FakeTensorRT, refusal: str, message: str) -> None:
    fake_tensorrt.refusal = refusal
    with pytest.raises(
        EngineLoadError,
        match=rf"^tensorrt 10.3.0 refused this engine: (it was )?{message}.*fer-edge export",
    ):
        open_fake()


def test_plan_of_another_graph(fake_tensorrt: FakeTensorRT) -> None:
    fake_tensorrt.outputs = (OUTPUT_NAME, "features")
    with pytest.raises(EngineLoadError, match=r"to probabilities .*, features float32"):
        open_fake()


def test_failed_execution_gives_tensorrts_reason(
    fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    with open_fake() as engine:
        fake_tensorrt.execution_works = False
        with pytest.raises(InferenceError, match=r"failed on 3 faces: Cuda Runtime: boom\."):
            engine.run(faces(3))
        fake_tensorrt.execution_works = True
        batch = faces(3)
        np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))


def test_cuda_error_in_a_run_is_an_inference_error(
    fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    with open_fake() as engine:
        lost = FakeError(700, "cudaErrorIllegalAddress")
        fake_tensorrt.cuda.errors["cudaStreamSynchronize"] = lost
        with pytest.raises(InferenceError, match=r"cudaErrorIllegalAddress.*nvidia-smi"):
            engine.run(faces(2))


def test_no_gpu_is_said_before_anything_is_loaded(fake_cuda: FakeCuda) -> None:
    pytest.importorskip("tensorrt_rtx")
    fake_cuda.errors["cudaGetDeviceCount"] = FakeError(100, "cudaErrorNoDevice")
    with pytest.raises(BackendUnavailableError, match="no NVIDIA GPU"):
        TensorRTEngine(b"", "tensorrt-rtx", precision="fp32")


@pytest.fixture(scope="module")
def plan() -> bytes:
    pytest.importorskip("tensorrt_rtx")
    return build_engine(make_graph(), "tensorrt-rtx", opt_batch=8, max_batch=64)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"", "is damaged"),
        (lambda plan: plan[: len(plan) // 2], "is damaged"),
        (lambda plan: b"rubbish!" + plan[8:], "is damaged, or was built by another version"),
    ],
)
def test_damaged_plan(plan: bytes, damage: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(
        EngineLoadError, match=rf"tensorrt-rtx [\d.]+ refused this engine: it {message}"
    ) as caught:
        deserialize(damage(plan), "tensorrt-rtx")
    assert "Build it again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(cuda.cuda_available()[0], reason="has a GPU")
def test_sound_plan_without_a_gpu_is_not_called_damaged(plan: bytes) -> None:
    with pytest.raises(BackendUnavailableError, match="NVIDIA"):
        deserialize(plan, "tensorrt-rtx")


@pytest.mark.gpu
@pytest.mark.skipif(not cuda.cuda_available()[0], reason=cuda.cuda_available()[1])
@pytest.mark.parametrize("backend", TENSORRT_BACKENDS)
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 2e-3), ("fp16", 1e-2), ("int8", 1e-2)]
)
def test_agrees_with_onnx_runtime_on_a_real_gpu(
    backend: TensorRTBackend, precision: str, tolerance: float, faces: MakeFaces
) -> None:
    try:
        module_version(backend)
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    graph = make_graph(precision)
    plan = build_engine(graph, backend, opt_batch=8, max_batch=64)
    batches = [faces(n) for n in (1, 64, 8, 8, 3)]
    with (
        OnnxRuntimeEngine(graph) as reference,
        TensorRTEngine(plan, backend, precision=precision) as engine,
        ThreadPoolExecutor(3) as pool,
    ):
        for batch, probabilities in zip(batches, pool.map(engine.run, batches), strict=True):
            np.testing.assert_allclose(probabilities, reference.run(batch), atol=tolerance)
