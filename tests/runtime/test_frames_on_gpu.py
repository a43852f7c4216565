"""Frames that travel to a GPU once: detector and classifier on the simulated one."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fer_edge.detection import RetinaFace, retinaface
from fer_edge.detector_artifact import DetectorArtifact
from fer_edge.detector_contract import FRAMES
from fer_edge.engines import frames
from fer_edge.engines.tensorrt import TensorRTEngine
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_faces
from fer_edge.runtime import recognizer as module
from fer_edge.runtime.capture import Camera
from fer_edge.runtime.detection import Detection
from fer_edge.runtime.recognizer import Recognizer
from tests.detection.graphs import SMALL
from tests.engines import fakes
from tests.engines.conftest import fake_tensorrt, gpu, package  # noqa: F401
from tests.engines.device_arrays import WithDlpack, WithInterface
from tests.engines.fakes import FakeTensorRT, expected_of_fake
from tests.engines.tensorrt import test_network as detectors
from tests.engines.tensorrt.test_network import artifact  # noqa: F401
from tests.tiny import FakeEngine

ROWS, COLUMNS = SMALL.height, SMALL.width


@pytest.fixture(autouse=True)
def _both(fake_tensorrt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: F811
    """Plans of a detector and of a classifier."""
    del fake_tensorrt
    load = fakes.FakeRuntime.deserialize_cuda_engine

    def loaded(self: fakes.FakeRuntime, plan: bytes) -> object:
        kind = detectors.DetectorsEngine if plan == b"plan" else classifiers
        monkeypatch.setattr(fakes, "FakeRtxEngine", kind)
        return load(self, plan)

    def inference(context: fakes.FakeContext, *rest: object) -> object:
        kind = detectors.DetectorsInference if FRAMES in context.addresses else infers
        return kind(context, *rest)

    classifiers, infers = fakes.FakeRtxEngine, fakes._Inference
    monkeypatch.setattr(fakes.FakeRuntime, "deserialize_cuda_engine", loaded)
    monkeypatch.setattr(fakes, "_Inference", inference)
    frames._tell.cache_clear()
    yield
    retinaface._shared.after_fork()
    frames._tell.cache_clear()


@pytest.fixture
def recognizer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recognizer]:
    engine = TensorRTEngine(b"faces", "tensorrt", precision="fp16")
    monkeypatch.setattr(module, "open_engine", lambda *_, **__: engine)
    with Recognizer("anything.onnx") as opened:
        yield opened


@pytest.fixture
def detector(artifact: DetectorArtifact) -> RetinaFace:  # noqa: F811
    return RetinaFace(artifact.folder)


def some_frame(seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """In whose first pixel is where the simulated detector finds a face."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 30, (rows, columns, 3), dtype=np.uint8)


def face_of(frame: np.ndarray) -> Box:
    return Box(float(frame[0, 0, 0]), 0, 20, 20)


def answer(frame: np.ndarray) -> np.ndarray:
    """What the simulated classifier says of its face."""
    return expected_of_fake(crop_faces(frame, [face_of(frame)])[:, None])[0]


def test_a_photo_goes_up_once_and_boxes_and_probabilities_come_down(
    recognizer: Recognizer,
    detector: RetinaFace,
    fake_tensorrt: FakeTensorRT,  # noqa: F811
) -> None:
    frame = some_frame()
    recognizer.find(frame, detector=detector, color="bgr")  # opens the engines
    gpu = fake_tensorrt.gpu  # noqa: F811
    gpu.uploaded.clear()
    gpu.downloaded.clear()
    (found,) = recognizer.find(frame, detector=detector, color="bgr")
    assert found.box == face_of(frame)
    np.testing.assert_array_equal(found.raw, answer(frame))
    # What the kernel is told of the letterbox and the crops, and the zero that candidates begin at.
    assert len([nbytes for nbytes in gpu.uploaded if nbytes == frame.nbytes]) == 1
    assert len(gpu.uploaded) == 4
    rows = min(SMALL.anchors, 128)
    assert gpu.downloaded == [64 * (1 + rows), 4 * len(recognizer.contract.labels)]


def test_rgb_photos_and_gray_ones(recognizer: Recognizer, detector: RetinaFace) -> None:
    frame = some_frame(3)
    (found,) = recognizer.find(frame[..., ::-1].copy(), detector=detector, color="rgb")
    assert found.box == face_of(frame)
    np.testing.assert_array_equal(found.raw, answer(frame))
    gray = frame[..., 0]
    (found,) = recognizer.find(gray, detector=detector)
    assert found.box == face_of(frame)
    np.testing.assert_array_equal(
        found.raw, expected_of_fake(crop_faces(gray, [found.box])[:, None])[0]
    )


@pytest.mark.parametrize("kind", [WithDlpack, WithInterface])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_a_photo_that_is_on_the_gpu_already(
    recognizer: Recognizer,
    detector: RetinaFace,
    fake_tensorrt: FakeTensorRT,  # noqa: F811
    kind: type,
    color: str,
) -> None:
    frame = some_frame(4)
    array = kind(fake_tensorrt.gpu, frame if color == "bgr" else frame[..., ::-1].copy())
    (found,) = recognizer.find(array, detector=detector, color=color)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.raw, answer(frame))
    if color == "bgr":
        (seen,) = detector(array)
        assert seen.box == found.box
    array.free()


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 1001), (479, 641), (1080, 1920)])
def test_frames_of_any_size(
    recognizer: Recognizer,
    artifact: DetectorArtifact,  # noqa: F811
    fake_tensorrt: FakeTensorRT,  # noqa: F811
    rows: int,
    columns: int,
) -> None:
    frame = some_frame(rows, rows, columns)
    detector = RetinaFace(artifact.folder, size=COLUMNS)
    (found,) = recognizer.find(frame, detector=detector, color="bgr")
    assert len(fake_tensorrt.gpu.launched) == 2
    scale = min(COLUMNS / columns, ROWS / rows, 1)
    assert found.box.width == pytest.approx(20 / scale)
    np.testing.assert_array_equal(
        found.raw, expected_of_fake(crop_faces(frame, [found.box])[:, None])[0]
    )


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.full((9, 9, 3), np.nan), "must be uint8, got float64"),
        (np.zeros((9, 9, 4), np.uint8), "four channels"),
        (np.zeros((0, 9, 3), np.uint8), "a pixel at least"),
    ],
)
def test_what_is_no_photo(
    recognizer: Recognizer,
    detector: RetinaFace,
    fake_tensorrt: FakeTensorRT,  # noqa: F811
    image: np.ndarray,
    says: str,
) -> None:
    with pytest.raises(InputError, match=says):
        recognizer.find(image, detector=detector)
    array = WithDlpack(fake_tensorrt.gpu, image)
    with pytest.raises(InputError, match=r"must be uint8 \(H, W, 3\) or \(H, W\)"):
        recognizer.find(array, detector=detector)
    array.free()


def fifty(_: object) -> list[Detection]:
    return [Detection(Box(count % 10 * 5, count // 10 * 5, 9, 9), 0.9) for count in range(50)]


class Fifty(RetinaFace):
    """Finds fifty faces in whatever it has placed."""

    def __call__(self, image: object) -> list[Detection]:
        super().__call__(image)  # type: ignore[arg-type]
        return fifty(image)


def test_fifty_faces(
    recognizer: Recognizer,
    artifact: DetectorArtifact,  # noqa: F811
    fake_tensorrt: FakeTensorRT,  # noqa: F811
) -> None:
    frame = some_frame(6)
    found = recognizer.find(frame, detector=Fifty(artifact.folder), color="bgr")
    boxes = [one.box for one in fifty(frame)]
    np.testing.assert_array_equal(
        [one.raw for one in found], expected_of_fake(crop_faces(frame, boxes)[:, None])
    )
    assert max(fake_tensorrt.batches) == 8, "in parts, two of them in flight"


@pytest.mark.parametrize("every", [1, 3])
def test_watching_sees_what_the_processor_would(
    recognizer: Recognizer,
    detector: RetinaFace,
    fake_tensorrt: FakeTensorRT,  # noqa: F811
    every: int,
) -> None:
    film = np.stack([some_frame(seed) for seed in range(9)])
    with Camera(film, fps=30) as camera:
        moments = list(recognizer.watch(camera, detector=detector, detect_every=every))
    assert [moment.frame.index for moment in moments] == list(range(9))
    for moment, frame in zip(moments, film, strict=True):
        seen = [face for face in moment.faces if face.score is not None]
        assert bool(seen) == (moment.frame.index % every == 0)
        for face in seen:
            np.testing.assert_array_equal(face.raw, answer(frame))
    assert detector.at_once == 8, "as many as go together"
    # Letterbox and crops of every frame that is looked at, and none of the others.
    assert len(fake_tensorrt.gpu.launched) == 2 * len(film[::every])


def test_frames_that_come_while_the_gpu_is_busy_go_together(
    detector: RetinaFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = [some_frame(seed) for seed in range(12)]
    detector(film[0])
    opened = next(iter(retinaface._shared._engines.values()))
    sizes: list[int] = []
    look = type(opened.engine).look

    def slow(engine: object, batch: object, *rest: object) -> object:
        if not sizes:
            for _ in range(3000):  # until the others wait
                if len(opened._gathered._waiting) == 11:
                    break
                time.sleep(0.001)
        sizes.append(len(batch))  # type: ignore[arg-type]
        return look(engine, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(opened.engine), "look", slow)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(detector, film))
    for frame, (face,) in zip(film, found, strict=True):
        assert face.box == face_of(frame)
    assert sizes == [1, 8, 3], "the engine takes 8"


class TestWhereOneOfThemIsNotOnTheGpu:
    def test_the_classifier(self, detector: RetinaFace, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = FakeEngine()
        monkeypatch.setattr(module, "open_engine", lambda *_, **__: engine)
        frame = some_frame()
        with Recognizer("anything.onnx") as recognizer:
            (found,) = recognizer.find(frame, detector=detector, color="bgr")
        expected = engine.run(crop_faces(frame, [face_of(frame)])[:, None])
        np.testing.assert_array_equal(found.raw, expected[0])

    def test_the_detector(
        self,
        recognizer: Recognizer,
        artifact: DetectorArtifact,  # noqa: F811
        fake_tensorrt: FakeTensorRT,  # noqa: F811
    ) -> None:
        frame = some_frame()
        detector = RetinaFace(artifact.folder, device="cpu", min_score=0)
        recognizer.find(frame, detector=detector)
        assert "cuLaunchKernel" not in fake_tensorrt.gpu.calls
        array = WithDlpack(fake_tensorrt.gpu, frame)
        with pytest.raises(InputError, match=r"does not take it from there.*numpy"):
            recognizer.find(array, detector=detector)
        with pytest.raises(InputError, match="A Own does not take frames that are on a GPU"):
            recognizer.find(array, detector=Own())
        array.free()

    def test_a_programs_own_detector_gets_arrays(self, recognizer: Recognizer) -> None:
        frame = some_frame()
        (found,) = recognizer.find(frame, detector=Own(), color="bgr")
        np.testing.assert_array_equal(found.raw, answer(frame))


class Own:
    def __call__(self, image: np.ndarray) -> list[Detection]:
        assert isinstance(image, np.ndarray)
        return [Detection(face_of(image), 0.9)]


def test_a_kernel_that_cannot_be_had_is_told_and_the_answers_are_the_same(
    recognizer: Callable[[], Recognizer],
    detector: RetinaFace,
    fake_tensorrt: FakeTensorRT,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del recognizer
    frames._frame_gpu.cache_clear()
    fake_tensorrt.gpu.errors["cuModuleLoadData"] = "a PTX JIT compilation failed"
    engine = TensorRTEngine(b"faces", "tensorrt", precision="fp16")
    monkeypatch.setattr(module, "open_engine", lambda *_, **__: engine)
    frame = some_frame()
    with caplog.at_level(logging.WARNING), Recognizer("anything.onnx") as opened:
        (found,) = opened.find(frame, detector=detector, color="bgr")
        np.testing.assert_array_equal(found.raw, answer(frame))
        with Camera(frame[None]) as camera:
            (moment,) = opened.watch(camera, detector=detector)
    np.testing.assert_array_equal(moment.faces[0].raw, answer(frame))
    assert "cuLaunchKernel" not in fake_tensorrt.gpu.calls
    (record,) = caplog.records
    assert "a PTX JIT compilation failed" in record.getMessage()


def test_faces_of_a_watch_and_of_a_caller_share_a_batch(
    recognizer: Recognizer, detector: RetinaFace
) -> None:
    frame = some_frame()
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    crops = detector.place(frame).crops([face_of(frame)], recognizer.contract)  # type: ignore[union-attr]
    batch = frames.joined([faces, crops, faces])
    found = recognizer._classify(batch)
    expected = [*expected_of_fake(faces[:, None]), answer(frame), *expected_of_fake(faces[:, None])]
    np.testing.assert_array_equal(found, expected)
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(recognizer._batcher.answer, one)
            for one in itertools.islice(itertools.cycle([faces, crops]), 40)
        ]
        for call, expected in zip(
            calls, itertools.cycle([expected_of_fake(faces[:, None]), [answer(frame)]])
        ):
            np.testing.assert_array_equal(call.result().probabilities, expected)


def test_an_artifact_that_is_damaged(artifact: DetectorArtifact) -> None:  # noqa: F811
    (artifact.folder / "engines/fp16.engine").write_bytes(b"other")
    with pytest.raises(FerEdgeError, match="does not match the hash") as caught:
        RetinaFace(artifact.folder, backend="tensorrt")(some_frame())
    assert "\n" not in str(caught.value)
