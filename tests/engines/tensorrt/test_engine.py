import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fer_edge.contract import OUTPUT_NAME
from fer_edge.engines import cuda
from fer_edge.engines.base import Engine, Faces
from fer_edge.engines.tensorrt import (
    TensorRTBackend,
    TensorRTEngine,
    build_engine,
)
from fer_edge.engines.tensorrt.network import _buckets, deserialize
from fer_edge.errors import (
    BackendUnavailableError,
    EngineLoadError,
    InferenceError,
    InputError,
)

from ..cuda.fakes import Failure
from ..device_arrays import KINDS, GpuArray, WithDlpack
from ..fakes import FakeTensorRT, expected_of_fake
from ..graphs import make_graph

MakeFaces = Callable[[int], Faces]


PACKAGES_AND_BACKENDS = [
    ("cuda.bindings", "tensorrt"),
    ("cuda.bindings", "tensorrt-rtx"),
    ("pycuda", "tensorrt"),
]


@pytest.fixture(params=PACKAGES_AND_BACKENDS, ids="-".join)
def way(request: pytest.FixtureRequest) -> tuple[str, TensorRTBackend]:
    return request.param


@pytest.fixture
def package(way: tuple[str, TensorRTBackend]) -> str:
    return way[0]


@pytest.fixture
def open_fake(
    fake_tensorrt: FakeTensorRT,  # noqa: ARG001
    way: tuple[str, TensorRTBackend],
) -> Callable[[], TensorRTEngine]:
    return lambda: TensorRTEngine(b"plan", way[1], precision="fp16")


Open = Callable[[], TensorRTEngine]
only_bindings = pytest.mark.parametrize(
    "way", [("cuda.bindings", "tensorrt")], indirect=True, ids="-".join
)


def test_answers_are_those_of_the_batch(
    open_fake: Open, way: tuple[str, str], fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    with open_fake() as engine:
        info = engine.describe()
        for n in (8, 1, 2, 3, 3, 5, 8):
            batch = faces(n)
            np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))
    assert isinstance(engine, Engine)
    assert (info.backend, info.backend_version, info.precision) == (way[1], "10.3.0", "fp16")
    assert (info.device, info.min_batch, info.max_batch) == ("Fake GPU", 1, None)
    assert info.buckets == (2, 4, 8)
    assert not fake_tensorrt.gpu.live


def test_a_batch_runs_in_the_next_larger_bucket(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    with open_fake() as engine:
        fake_tensorrt.batches.clear()
        for n in (1, 2, 3, 4, 5, 8):
            engine.run(faces(n))
    assert fake_tensorrt.batches == [2, 2, 4, 4, 8, 8]


@pytest.mark.parametrize("n", [9, 16, 17, 21, 29, 80])
def test_larger_batches_go_in_parts_two_in_flight(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces, n: int
) -> None:
    batch = faces(n)
    with open_fake() as engine:
        fake_tensorrt.gpu.calls.clear()
        np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))
        calls = fake_tensorrt.gpu.calls
        waits = [index for index, call in enumerate(calls) if call == "cuStreamSynchronize"]
        before_the_first_wait = calls[: waits[0]]
        assert before_the_first_wait.count("cuMemcpyHtoDAsync") == 2
        assert len(waits) == -(-n // 8)


@pytest.mark.parametrize("smallest", [1, 3, 8])
def test_buckets(smallest: int) -> None:
    assert _buckets(smallest, 8) == {1: (1, 2, 4, 8), 3: (3, 4, 8), 8: (8,)}[smallest]
    assert _buckets(1, 50) == (1, 2, 4, 8, 16, 32, 50)


def test_answers_are_the_callers_to_keep(open_fake: Open, faces: MakeFaces) -> None:
    with open_fake() as engine:
        batch = faces(4)
        kept = engine.run(batch)
        engine.run(255 - batch)
    np.testing.assert_array_equal(kept, expected_of_fake(batch))


def test_takes_faces_that_are_not_contiguous(open_fake: Open, faces: MakeFaces) -> None:
    mirrored = faces(4)[:, :, :, ::-1]
    with open_fake() as engine:
        np.testing.assert_array_equal(engine.run(mirrored), expected_of_fake(mirrored))


def test_no_faces(open_fake: Open, faces: MakeFaces) -> None:
    with open_fake() as engine, pytest.raises(InputError, match=r"takes 1 to any .* got 0"):
        engine.run(faces(0))


def test_launches_are_described(
    open_fake: Open, way: tuple[str, str], fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    package, backend = way
    with open_fake() as engine:
        fake_tensorrt.gpu.calls.clear()
        engine.run(faces(8))
        launches = fake_tensorrt.gpu.calls.count("cuGraphLaunch")
        launch = engine.describe().launch
    if backend == "tensorrt-rtx":
        # Nobody can see whether its own graphs run.
        assert {config.cuda_graph_strategy for config in fake_tensorrt.configs} == {"disabled"}
    if package == "pycuda":
        assert (launch, launches) == ("enqueue: PyCUDA has no CUDA graphs", 0)
    else:
        assert (launch, launches) == ("CUDA graphs", 1)


@only_bindings
def test_an_engine_that_cannot_be_captured_is_enqueued(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    fake_tensorrt.capturable = False
    with open_fake() as engine:
        launch = engine.describe().launch
        batch = faces(21)
        np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))
    assert launch is not None
    assert launch.startswith("enqueue: TensorRT failed on 2 faces: Cuda Runtime: operation not")
    assert "cuGraphLaunch" not in fake_tensorrt.gpu.calls
    assert not fake_tensorrt.gpu.live


@only_bindings
@pytest.mark.parametrize("graphs", [1, 3])
def test_no_graph_stays_where_one_fails(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces, graphs: int
) -> None:
    gpu = fake_tensorrt.gpu
    instantiate = gpu.cuGraphInstantiate

    def fail_late(graph: int, flags: int) -> int:
        if gpu.calls.count("cuGraphInstantiate") > graphs:
            raise Failure("out of memory")
        return instantiate(graph, flags)

    gpu.cuGraphInstantiate = fail_late
    with open_fake() as engine:
        assert engine.describe().launch == "enqueue: The GPU is out of memory"
        for n in (2, 4, 8):
            engine.run(faces(n))
    assert "cuGraphLaunch" not in gpu.calls
    assert not gpu.live


def test_nothing_is_allocated_after_opening(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    with open_fake() as engine:
        before = set(fake_tensorrt.gpu.live)
        for n in (1, 8, 30, 3):
            engine.run(faces(n))
        assert set(fake_tensorrt.gpu.live) == before


def test_one_batch_at_a_time(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    gpu = fake_tensorrt.gpu
    batches = [faces(n % 12 + 1) for n in range(100)]
    with open_fake() as engine, ThreadPoolExecutor(8) as pool:
        gpu.most_pushed = 0
        for batch, probabilities in zip(batches, pool.map(engine.run, batches), strict=True):
            np.testing.assert_array_equal(probabilities, expected_of_fake(batch))
        assert gpu.most_pushed == 1


def test_a_thread_leaves_with_the_context_it_came_with(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    gpu, foreign = fake_tensorrt.gpu, 0xBAD
    gpu.call("cuCtxPushCurrent", foreign)
    engine = open_fake()
    assert gpu.stack == [foreign]
    engine.run(faces(2))
    assert gpu.stack == [foreign]
    with pytest.raises(InputError):
        engine.run(faces(0))
    gpu.errors["cuStreamSynchronize"] = "invalid argument"
    with pytest.raises(InferenceError):
        engine.run(faces(2))
    assert gpu.stack == [foreign]
    gpu.errors.clear()
    engine.run(faces(2))
    engine.close()
    assert gpu.stack == [foreign]
    gpu.call("cuCtxPopCurrent")


def test_close_frees_all_and_may_repeat(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    engine = open_fake()
    assert len(fake_tensorrt.gpu.live) > 20
    engine.close()
    engine.close()
    assert not fake_tensorrt.gpu.live
    assert fake_tensorrt.deleted == [*["context"] * 4, "engine", "runtime"]
    assert fake_tensorrt.deleted_in == [[fake_tensorrt.gpu.PRIMARY]] * 4
    with pytest.raises(InferenceError, match="closed"):
        engine.run(faces(2))


def test_closing_while_others_predict(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    batch = faces(19)
    expected = expected_of_fake(batch)
    engine = open_fake()
    started = threading.Barrier(5)

    def predict() -> None:
        started.wait()
        while True:
            np.testing.assert_array_equal(engine.run(batch), expected)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(predict) for _ in range(4)]
        started.wait()
        engine.close()
        for future in running:
            with pytest.raises(InferenceError, match="closed"):
                future.result()
    assert not fake_tensorrt.gpu.live


def test_many_threads_open_predict_and_close(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    batch = faces(5)

    def use(_: int) -> bool:
        with open_fake() as engine:
            return np.array_equal(engine.run(batch), expected_of_fake(batch))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(32)))
    assert not fake_tensorrt.gpu.live


@only_bindings
def test_out_of_memory_while_opening_frees_all(
    open_fake: Open, fake_tensorrt: FakeTensorRT
) -> None:
    gpu = fake_tensorrt.gpu
    with open_fake():
        graphs = 2 * 4
        made = len(gpu.live) - graphs // 2
    for succeed in range(made):
        gpu.fail_after = succeed
        with pytest.raises(EngineLoadError, match=r"out of memory.*smaller --batch"):
            open_fake()
        assert not gpu.live


def test_no_execution_context_frees_all(open_fake: Open, fake_tensorrt: FakeTensorRT) -> None:
    fake_tensorrt.context_works = False
    with pytest.raises(EngineLoadError, match="cannot make an execution context"):
        open_fake()
    assert not fake_tensorrt.gpu.live


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 18, 30])
def test_faces_on_the_gpu_stay_there(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces, kind: type[GpuArray], n: int
) -> None:
    gpu, batch = fake_tensorrt.gpu, faces(n)
    with open_fake() as engine:
        for content in (batch, 255 - batch):
            array = kind(gpu, content)
            gpu.calls.clear()
            np.testing.assert_array_equal(engine.run(array), expected_of_fake(content))
            assert "cuMemcpyHtoDAsync" not in gpu.calls
            assert gpu.calls.count("cuMemcpyDtoDAsync") == -(-n // 8)
            array.free()
        np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))
    assert not gpu.live


def test_faces_on_the_gpu_that_the_engine_cannot_take(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    gpu = fake_tensorrt.gpu
    with open_fake() as engine:
        array = WithDlpack(gpu, faces(0))
        with pytest.raises(InputError, match="a face at least"):
            engine.run(array)
        array.free()
        batch = faces(3)
        np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))
    assert not gpu.live


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
@only_bindings
def test_refused_plan_says_why(
    open_fake: Open, fake_tensorrt: FakeTensorRT, refusal: str, message: str
) -> None:
    fake_tensorrt.refusal = refusal
    with pytest.raises(
        EngineLoadError,
        match=rf"^tensorrt 10.3.0 refused this engine: (it was )?{message}.*fer-edge export",
    ):
        open_fake()


@only_bindings
def test_plan_of_another_graph(open_fake: Open, fake_tensorrt: FakeTensorRT) -> None:
    fake_tensorrt.outputs = (OUTPUT_NAME, "features")
    with pytest.raises(EngineLoadError, match=r"to probabilities .*, features float32"):
        open_fake()


@pytest.mark.parametrize("way", PACKAGES_AND_BACKENDS[2:], indirect=True, ids="-".join)
def test_failed_execution_gives_tensorrts_reason(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    with open_fake() as engine:
        fake_tensorrt.execution_works = False
        with pytest.raises(InferenceError, match=r"failed on 4 faces: Cuda Runtime: boom\."):
            engine.run(faces(3))
        fake_tensorrt.execution_works = True
        batch = faces(3)
        np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))


@pytest.mark.parametrize("function", ["cuStreamSynchronize", "cuMemcpyHtoDAsync"])
@pytest.mark.parametrize("n", [2, 30])
def test_cuda_error_in_a_run_is_an_inference_error(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces, function: str, n: int
) -> None:
    gpu = fake_tensorrt.gpu
    with open_fake() as engine:
        gpu.errors[function] = "invalid argument"
        with pytest.raises(InferenceError, match=rf"{function}: invalid argument.*nvidia-smi"):
            engine.run(faces(n))
        gpu.errors.clear()
        batch = faces(n)
        np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))


def test_after_an_error_nothing_is_in_flight(
    open_fake: Open, fake_tensorrt: FakeTensorRT, faces: MakeFaces
) -> None:
    gpu = fake_tensorrt.gpu
    with open_fake() as engine:
        gpu.calls.clear()
        upload = gpu.cuMemcpyHtoDAsync

        def fail_third(*args: object) -> None:
            if gpu.calls.count("cuMemcpyHtoDAsync") == 3:
                raise Failure("invalid argument")
            upload(*args)

        gpu.cuMemcpyHtoDAsync = fail_third
        with pytest.raises(InferenceError, match="invalid argument"):
            engine.run(faces(30))
        assert [one for one in gpu.live.values() if isinstance(one, deque) and one] == []


def test_no_gpu_is_said_before_anything_is_loaded(
    open_fake: Open, fake_tensorrt: FakeTensorRT
) -> None:
    fake_tensorrt.gpu.count = 0
    with pytest.raises(BackendUnavailableError, match="no NVIDIA GPU"):
        open_fake()
    assert fake_tensorrt.deleted == []


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
