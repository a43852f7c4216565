"""Networks of several outputs on the simulated GPU."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fer_edge.detection import RetinaFace, retinaface
from fer_edge.detection.letterbox import letterboxed_there
from fer_edge.detector_artifact import DetectorArtifact, DetectorEngineRecord, seal_detector
from fer_edge.detector_contract import BOXES, FRAMES, LANDMARKS, SCORES
from fer_edge.engines.detector import DetectorEngine, open_detector
from fer_edge.engines.frames import GpuFrame, frames_on
from fer_edge.engines.on_gpu import Joined
from fer_edge.engines.tensorrt.network import TensorRTNetwork
from fer_edge.errors import BackendUnavailableError, EngineLoadError, InferenceError, InputError
from tests.detection.graphs import SMALL, WIDE, tiny_detector

from .. import fakes
from ..device_arrays import WithDlpack
from ..fakes import FakeContext, FakeRtxEngine, FakeTensorRT

TENSORS = {
    FRAMES: ("INPUT", "UINT8", (-1, SMALL.height, SMALL.width, 3)),
    BOXES: ("OUTPUT", "FLOAT", (-1, SMALL.anchors, 4)),
    SCORES: ("OUTPUT", "FLOAT", (-1, SMALL.anchors)),
    LANDMARKS: ("OUTPUT", "FLOAT", (-1, SMALL.anchors, 10)),
}


class DetectorsEngine(FakeRtxEngine):
    """An engine that finds in each frame a box as far right as its first pixel says."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.names = tuple(TENSORS)
        self.num_io_tensors = len(TENSORS)
        self.face = TENSORS[FRAMES][2][1:]

    def get_tensor_mode(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=TENSORS[name][0])

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=TENSORS[name][1])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return TENSORS[name][2]

    def create_execution_context(self, config: object = "static") -> FakeContext | None:
        assert getattr(config, "strategy", config) in ("static", "user managed")
        return FakeContext(self, config)


class DetectorsInference(fakes._Inference):
    def end(self) -> bool:
        self.trt.during_execution()
        gpu = self.trt.gpu
        size = int(np.prod(self.shape))
        frames = np.frombuffer(gpu.bytes_at(self.addresses[FRAMES], size), np.uint8)
        for name, array in expected(frames.reshape(self.shape)).items():
            raw = array.tobytes()
            gpu.bytes_at(self.addresses[name], len(raw))[:] = raw
        self.trt.batches.append(self.shape[0])
        return True


def expected(frames: np.ndarray) -> dict[str, np.ndarray]:
    first = frames[:, 0, 0, 0].astype(np.float32)
    found = {
        name: np.zeros((len(frames), *shape[1:]), np.float32)
        for name, (mode, _, shape) in TENSORS.items()
        if mode == "OUTPUT"
    }
    found[BOXES][:, 0] = np.stack([first, first * 0, first + 20, first * 0 + 20], axis=1)
    found[SCORES][:, 0] = 0.9
    found[LANDMARKS][:, 0] = first[:, None]
    return found


@pytest.fixture(autouse=True)
def _detectors(fake_tensorrt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    del fake_tensorrt
    monkeypatch.setattr(fakes, "FakeRtxEngine", DetectorsEngine)
    monkeypatch.setattr(fakes, "_Inference", DetectorsInference)


def some_frames(n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    return rng.integers(0, 30, (n, SMALL.height, SMALL.width, 3), dtype=np.uint8)


@pytest.fixture
def network() -> TensorRTNetwork:
    return TensorRTNetwork(b"plan", "tensorrt", precision="fp16")


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9, 30])
def test_all_outputs_of_every_frame(network: TensorRTNetwork, n: int) -> None:
    frames = some_frames(n)
    with network:
        assert network.buckets == (2, 4, 8)
        assert network.launch == "CUDA graphs"
        found = network.run({FRAMES: frames})
        again = network.run({FRAMES: frames[::-1].copy()})
    for name, array in expected(frames).items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(again[name], array[::-1])


def test_frames_on_the_gpu_are_taken_from_there(
    network: TensorRTNetwork, fake_tensorrt: FakeTensorRT
) -> None:
    frames = some_frames(11)
    with network:
        array = WithDlpack(fake_tensorrt.gpu, frames)
        found = network.compute({FRAMES: array})
        array.free()
    np.testing.assert_array_equal(found[BOXES], expected(frames)[BOXES])


def test_what_it_is_and_what_it_refuses(network: TensorRTNetwork) -> None:
    info = network.describe()
    assert [tensor.name for tensor in (*info.inputs, *info.outputs)] == [*TENSORS]
    assert (info.backend, info.precision, info.device) == ("tensorrt", "fp16", "Fake GPU")
    with pytest.raises(InputError, match="takes frames, got faces"):
        network.run({"faces": some_frames(1)})
    network.close()
    network.close()
    with pytest.raises(InferenceError, match="closed"):
        network.run({FRAMES: some_frames(1)})


def test_a_check_comes_before_memory_is_taken(fake_tensorrt: FakeTensorRT) -> None:
    def refuse(*_: object) -> None:
        raise EngineLoadError("of another signature")

    with pytest.raises(EngineLoadError, match="another signature"):
        TensorRTNetwork(b"plan", "tensorrt", precision="fp16", check=refuse)
    assert not fake_tensorrt.gpu.live


@pytest.mark.parametrize("n", [1, 5, 8, 20])
def test_of_frames_on_the_gpu_only_what_is_sure_comes_down(
    network: TensorRTNetwork, fake_tensorrt: FakeTensorRT, n: int
) -> None:
    there = frames_on(0)
    assert there is not None
    frames = some_frames(n)
    with DetectorEngine(network) as engine:
        assert engine.describe().most_frames == 8
        fake_tensorrt.gpu.downloaded.clear()
        for least, rows in ((0.7, 1), (0.0, SMALL.anchors), (0.95, 0)):
            batch = Joined([letterboxed_there(GpuFrame(one, there), SMALL, 1) for one in frames])
            found = engine.look(batch, there, least)
            assert len(found) == n
            for one, box in zip(found, expected(frames)[BOXES], strict=True):
                np.testing.assert_array_equal(one.boxes, box[:rows])
                assert (len(one.scores), len(one.landmarks)) == (rows, rows)
        assert max(fake_tensorrt.gpu.downloaded) <= 64 * (1 + min(n, 8) * SMALL.anchors)


@pytest.fixture
def artifact(tmp_path: Path) -> DetectorArtifact:
    """A detector with an engine for small frames."""
    made = tiny_detector(tmp_path / "detector", SMALL, WIDE)
    file = "engines/fp16.engine"
    (made.folder / "engines").mkdir()
    (made.folder / file).write_bytes(b"plan")
    made.manifest.engines.append(
        DetectorEngineRecord(
            file=file,
            backend="tensorrt",
            backend_version="10.3.0",
            precision="fp16",
            gpu="Fake GPU",
            min_batch=2,
            opt_batch=4,
            max_batch=8,
            size=str(SMALL),
        )
    )
    return seal_detector(made.folder, made.manifest)


def test_the_engine_of_an_artifact_is_taken_where_there_is_one(artifact: DetectorArtifact) -> None:
    frames = some_frames(3)
    with open_detector(artifact, SMALL) as engine:
        info = engine.describe()
        found = engine.run(frames)
    assert (info.network.backend, info.file) == ("tensorrt", "engines/fp16.engine")
    np.testing.assert_array_equal(found.landmarks, expected(frames)[LANDMARKS])
    with open_detector(artifact, WIDE) as engine:
        assert engine.describe().network.backend == "onnxruntime-cpu"
    with pytest.raises(BackendUnavailableError, match="no such engine for tensorrt and frames of"):
        open_detector(artifact, WIDE, backend="tensorrt")


def test_an_engine_that_does_not_fit_is_passed_over_and_told(
    artifact: DetectorArtifact, fake_tensorrt: FakeTensorRT
) -> None:
    fake_tensorrt.refusal = "Serialization assertion failed"
    with open_detector(artifact, SMALL) as engine:
        info = engine.describe()
    assert info.network.backend == "onnxruntime-cpu"
    assert "engines/fp16.engine" in info.passed_over[0]
    with pytest.raises(EngineLoadError, match="it is damaged"):
        open_detector(artifact, SMALL, backend="tensorrt")


def test_calls_beside_one_another_share_what_is_on_the_gpu(artifact: DetectorArtifact) -> None:
    detector = RetinaFace(artifact.folder)
    frame = some_frames(1)[0]
    (found,) = detector(frame)
    assert found.box.x == frame[0, 0, 0]
    alone = retinaface._shared.engine(artifact, SMALL, None, **detector._opened)
    assert retinaface._shared.engine(artifact, SMALL, 1, **detector._opened) is alone
    alone.engine.close()
    retinaface._shared.after_fork()
