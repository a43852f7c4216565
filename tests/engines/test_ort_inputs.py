"""ONNX Runtime on CUDA, on the simulated GPU, whose memory a session on the processor reads."""

import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from fer_edge.contract import FER2013
from fer_edge.detection.letterbox import letterboxed, letterboxed_there
from fer_edge.engines import ort_cuda, ort_package, run_all
from fer_edge.engines.detector import DetectorEngine
from fer_edge.engines.frames import FrameGpu, GpuFrame, frames_on, joined
from fer_edge.engines.on_gpu import Joined
from fer_edge.engines.ort import OnnxRuntimeEngine, OnnxRuntimeNetwork
from fer_edge.errors import InferenceError
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_faces
from tests.detection.graphs import SMALL, detector_graph
from tests.tiny import RGB, classify, tiny_graph

from .cuda.fakes import FakeGpu

FRAME = np.random.default_rng(2).integers(0, 256, (60, 80, 3), dtype=np.uint8)
BOXES = [Box(3 * count, 5, 20 + count, 24) for count in range(11)]


class OnCuda:
    """A session of which the inputs lie on the simulated GPU."""

    def __init__(self, session: object, gpu: FakeGpu) -> None:
        self.session = session
        self.gpu = gpu
        for name in ("get_inputs", "get_outputs", "get_modelmeta", "run"):
            setattr(self, name, getattr(session, name))

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider"]

    def io_binding(self) -> SimpleNamespace:
        real = self.session.io_binding()  # type: ignore[attr-defined]

        def bind_input(
            name: str, where: str, index: int, dtype: np.dtype, shape: tuple, pointer: int
        ) -> None:
            assert (where, index) == ("cuda", 0)
            # Read now: nothing may be under way that writes it.
            there = self.gpu.bytes_at(pointer, int(np.prod(shape)))
            self.bound = np.frombuffer(there, dtype).reshape(shape), bytes(there)
            real.bind_input(name, "cpu", 0, dtype, shape, pointer)

        def bind_output(name: str, where: str = "cpu", *rest: object) -> None:
            if where == "cuda":
                (index, _, shape, pointer) = rest
                assert index == 0
                self.gpu.bytes_at(pointer, 4 * int(np.prod(shape)))  # type: ignore[arg-type,call-overload]
                real.bind_output(name, "cpu", *rest)
            else:
                real.bind_output(name)

        return SimpleNamespace(
            bind_input=bind_input,
            bind_cpu_input=real.bind_cpu_input,
            bind_output=bind_output,
            synchronize_outputs=real.synchronize_outputs,
            copy_outputs_to_cpu=real.copy_outputs_to_cpu,
            real=real,
        )

    def run_with_iobinding(self, binding: SimpleNamespace) -> None:
        self.session.run_with_iobinding(binding.real)  # type: ignore[attr-defined]


@pytest.fixture
def there(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> FrameGpu:
    real = ort_package.load_onnxruntime()

    class GpuOnnxRuntime:
        __version__ = real.__version__
        SessionOptions = real.SessionOptions

        @staticmethod
        def get_available_providers() -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        @staticmethod
        def InferenceSession(graph: bytes, *_: object, **__: object) -> OnCuda:  # noqa: N802
            return OnCuda(real.InferenceSession(graph, providers=["CPUExecutionProvider"]), gpu)

    monkeypatch.setitem(sys.modules, "onnxruntime", GpuOnnxRuntime)
    monkeypatch.setattr(ort_cuda, "driver_cuda", lambda: (13, 0))
    found = frames_on(0)
    assert found is not None
    return found


@pytest.mark.parametrize("contract", [FER2013, RGB], ids=["gray", "rgb"])
def test_faces_are_read_where_they_were_cut_out(there: FrameGpu, gpu: FakeGpu, contract) -> None:
    graph = tiny_graph(contract=contract).SerializeToString()
    crops = GpuFrame(FRAME, there).crops(BOXES, contract)
    faces = crop_faces(FRAME, BOXES, contract)
    with OnnxRuntimeEngine(graph, device="cuda") as engine:
        assert engine.describe().gpu == 0
        found = run_all(engine, crops, 4)  # parts of 4, 4, 3
        np.testing.assert_allclose(found, classify(faces, contract), atol=1e-4)
        shape = (3, *contract.face_shape)
        mixed = joined([faces[:3].reshape(shape), crops.part(3, 2)])
        found = run_all(engine, mixed)
        np.testing.assert_allclose(found, classify(faces[:5], contract), atol=1e-4)
        # What is on the host goes as before.
        np.testing.assert_allclose(
            engine.run(faces.reshape(-1, *contract.face_shape)),
            classify(faces, contract),
            atol=1e-4,
        )
    assert gpu.launched == [4, 4, 3, 2]


def test_threads_take_turns(there: FrameGpu) -> None:
    graph = tiny_graph().SerializeToString()
    films = [np.roll(FRAME, shift, axis=1) for shift in range(6)]
    with OnnxRuntimeEngine(graph, device="cuda") as engine, ThreadPoolExecutor(6) as pool:
        batches = [GpuFrame(frame, there).crops(BOXES, FER2013) for frame in films]
        for frame, found in zip(films, pool.map(engine.run, batches), strict=True):
            np.testing.assert_allclose(found, classify(crop_faces(frame, BOXES)), atol=1e-4)


def test_a_gpu_that_is_lost_is_told(there: FrameGpu, gpu: FakeGpu) -> None:
    engine = OnnxRuntimeEngine(tiny_graph().SerializeToString(), device="cuda")
    crops = GpuFrame(FRAME, there).crops(BOXES, FER2013)
    engine.run(crops)
    gpu.break_down()
    with pytest.raises(InferenceError, match="illegal memory access"):
        engine.run(GpuFrame(FRAME, there).crops(BOXES, FER2013))


@pytest.mark.parametrize("least", [0.0, 0.5, 0.95])
def test_of_a_detector_only_what_is_sure_comes_down(
    there: FrameGpu, gpu: FakeGpu, least: float
) -> None:
    faces = [((1, 2, 30, 40), 0.9), ((5, 5, 20, 20), 0.6), ((7, 7, 20, 20), 0.97)]
    graph = detector_graph(SMALL, faces)  # type: ignore[arg-type]
    frames = [GpuFrame(np.roll(FRAME, shift, axis=0), there) for shift in range(3)]
    batch = Joined([letterboxed_there(frame, SMALL, 0.5) for frame in frames])
    with DetectorEngine(OnnxRuntimeNetwork(graph, device="cuda")) as engine:
        assert engine.describe().network.gpu == 0
        found = engine.look(batch, there, least)
        host = np.concatenate([letterboxed(one.on_host(), SMALL, 0.5) for one in frames])
        whole = engine.run(host)
    assert len(found) == 3
    for one, boxes, scores, landmarks in zip(found, *whole, strict=True):
        sure = scores >= np.float32(least)
        np.testing.assert_array_equal(one.scores, scores[sure])
        np.testing.assert_array_equal(one.boxes, boxes[sure])
        np.testing.assert_array_equal(one.landmarks, landmarks[sure])
    assert max(gpu.downloaded) <= 64 * (1 + 3 * 128)


def test_a_detector_that_says_nan_is_told(there: FrameGpu) -> None:
    graph = detector_graph(SMALL, [((1, 2, 30, 40), float("nan"))])
    batch = letterboxed_there(GpuFrame(FRAME, there), SMALL, 0.5)
    with (
        DetectorEngine(OnnxRuntimeNetwork(graph, device="cuda")) as engine,
        pytest.raises(InferenceError, match="onnxruntime-cuda returned NaN"),
    ):
        engine.look(batch, there, 0.7)


def test_on_a_processor_it_is_refused(there: FrameGpu) -> None:
    graph = detector_graph(SMALL, [((1, 2, 30, 40), 0.9)])
    batch = letterboxed_there(GpuFrame(FRAME, there), SMALL, 0.5)
    with (
        DetectorEngine(OnnxRuntimeNetwork(graph)) as engine,
        pytest.raises(InferenceError, match="onnxruntime-cpu takes nothing on a GPU"),
    ):
        engine.look(batch, there, 0.7)
