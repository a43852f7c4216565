"""Frames on a real GPU, where there is one; bench/gpu.py runs them."""

import importlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fer_edge.contract import FER2013, Contract
from fer_edge.detection import RetinaFace
from fer_edge.detection.letterbox import letterboxed, letterboxed_there, scale_into
from fer_edge.detector_contract import BOXES, LANDMARKS, SCORES, Bucket
from fer_edge.engines import cuda
from fer_edge.engines.cuda.driver import VARIABLE
from fer_edge.engines.frames import FrameGpu, GpuFrame, frames_on
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.picking import Surest
from fer_edge.errors import FerEdgeError
from fer_edge.pixels.crops import crop_faces
from fer_edge.runtime.recognizer import Recognizer

from .cuda.test_kernel import LEVELS, some_boxes

pytestmark = pytest.mark.gpu
CARRIED = Path(__file__).parents[2] / "fer_edge/models/carried/compact"


@pytest.fixture(params=["cuda.bindings", "pycuda"])
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FrameGpu:
    monkeypatch.setenv(VARIABLE, request.param)
    try:
        cuda.require_cuda()
    except FerEdgeError as error:
        pytest.skip(str(error))
    found = frames_on(0)
    assert found is not None, "the log says why"
    return found


def made(batch: OnGpu, there: FrameGpu) -> np.ndarray:
    with there.device:
        stream = cuda.Stream(there.device)
        nbytes = batch.number * batch.row_bytes
        buffer = cuda.DeviceBuffer(there.device, nbytes)
        host = cuda.PinnedBuffer(there.device, (nbytes,), np.uint8)
        batch.queue(stream, buffer.pointer)
        stream.download(buffer, host.array)
        stream.synchronize()
        return host.array.copy()


@pytest.mark.parametrize("contract", [FER2013, Contract(24), Contract(224, "rgb")])
@pytest.mark.parametrize("size", [(1, 1), (97, 61), (640, 480), (1921, 1079), (7680, 4320)])
@pytest.mark.parametrize("gray", [False, True])
def test_crops_are_those_of_the_processor(
    there: FrameGpu, contract: Contract, size: tuple[int, int], gray: bool
) -> None:
    width, height = size
    rng = np.random.default_rng(width)
    image = rng.integers(0, 256, (height, width, 3)[: 3 - gray], dtype=np.uint8)
    boxes = some_boxes(rng, width, height, 20)
    found = made(GpuFrame(image, there).crops(boxes, contract), there)
    expected = crop_faces(image, boxes, contract).ravel()
    assert np.abs(found.astype(int) - expected).max() <= LEVELS


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (1920, 1080), (5, 4), (1999, 1501)])
def test_letterboxes_are_those_of_opencv(there: FrameGpu, size: tuple[int, int]) -> None:
    pytest.importorskip("cv2")
    width, height = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    bucket = Bucket(640, 480)
    scale = scale_into(width, height, bucket, 640)
    found = made(letterboxed_there(GpuFrame(image, there), bucket, scale), there)
    expected = letterboxed(image, bucket, scale).ravel()
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_frames_of_other_libraries(there: FrameGpu) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    boxes = some_boxes(np.random.default_rng(1), 160, 120, 5)
    expected = crop_faces(image, boxes)
    for name in ("torch", "cupy", "numba.cuda"):
        with suppress(ImportError):
            library = importlib.import_module(name)
            if name == "torch" and library.cuda.is_available():
                array = library.from_numpy(image).cuda(non_blocking=True)
            elif name == "torch":
                continue
            else:
                array = getattr(library, "asarray" if name == "cupy" else "to_device")(image)
            frame = GpuFrame(array, there)
            found = made(frame.crops(boxes, FER2013), there).reshape(expected.shape)
            assert np.abs(found.astype(int) - expected).max() <= LEVELS, name
            np.testing.assert_array_equal(frame.on_host(), image)


@pytest.mark.parametrize("least", [0.0, 0.5, 0.9999])
def test_of_a_detectors_outputs_only_what_is_sure_comes_down(there: FrameGpu, least: float) -> None:
    rng = np.random.default_rng(0)
    anchors, frames = 12600, 4
    shapes = ((SCORES, ()), (BOXES, (4,)), (LANDMARKS, (10,)))
    arrays = {name: rng.random((frames, anchors, *rest), np.float32) for name, rest in shapes}
    pick = Surest(there, anchors, least)
    with there.device:
        sent = there.uploads.send(*arrays.values())
        stream = cuda.Stream(there.device)
        stream.wait(sent.arrived)
        picker = pick.picker(frames)
        pick.apply(picker)
        picker.queue(stream, dict(zip(arrays, sent.pointers, strict=True)), frames)
        stream.synchronize()
        found = picker.collect(stream)
    for row, one in enumerate(found):
        sure = arrays[SCORES][row] >= np.float32(least)
        np.testing.assert_array_equal(one.scores, arrays[SCORES][row][sure])
        np.testing.assert_array_equal(one.landmarks, arrays[LANDMARKS][row][sure])


def test_a_photo_says_the_same_there_and_here(there: FrameGpu, tmp_path: Path) -> None:
    """Detector and classifier in FP32 on TensorRT, beside ONNX Runtime on the processor."""
    del there
    for name in ("tensorrt", "onnx", "retinaface"):
        pytest.importorskip(name)
    from fer_edge.export.detector.pipeline import make_detector
    from fer_edge.export.pipeline import export_model
    from fer_edge.export.targets.engine_plan import BatchRange

    options = {"precisions": ["fp32"], "backends": ["tensorrt"]}
    make_detector(
        tmp_path / "detector", sizes=[Bucket(640, 480)], batch=BatchRange(1, 1, 4), **options
    )
    export_model(CARRIED, tmp_path / "classifier", **options)
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (60, 80, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    answers = []
    for backend in ("tensorrt", "onnxruntime-cpu"):
        # Noise has no faces that anybody is sure of.
        detector = RetinaFace(
            tmp_path / "detector", backend=backend, precision="fp32", min_score=0.01
        )
        with Recognizer(tmp_path / "classifier", backend=backend, precision="fp32") as recognizer:
            answers.append(recognizer.find(image, detector=detector))
    there_, here = answers
    assert here, "nothing to compare"
    for one, other in zip(there_, here, strict=False):
        np.testing.assert_allclose(one.box, other.box, atol=1)
        np.testing.assert_allclose(one.raw, other.raw, atol=0.05)
