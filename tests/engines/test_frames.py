"""Frames on the simulated GPU."""

import gc
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fer_edge.contract import FER2013, Contract
from fer_edge.engines import cuda, frames
from fer_edge.engines.cuda import uploads
from fer_edge.engines.frames import Crops, FrameGpu, GpuFrame, frames_on, joined
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.errors import EngineError, InputError
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_faces

from .cuda.fakes import PACKAGES, FakeGpu
from .device_arrays import KINDS, GpuArray, WithDlpack

FRAME = np.random.default_rng(2).integers(0, 256, (60, 80, 3), dtype=np.uint8)
BOXES = [Box(10, 5, 30, 40), Box(-20, 30, 50, 50), Box(70, 50, 3, 3), Box(20, 8, 44, 43)]
RGB = Contract(24, "rgb", ("sad", "happy"))


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def there(gpu: FakeGpu) -> FrameGpu:
    del gpu
    found = frames_on(0)
    assert found is not None
    return found


def made(batch: OnGpu, there: FrameGpu, contract: Contract = FER2013) -> np.ndarray:
    """What a network would find in its input."""
    with there.device:
        stream = cuda.Stream(there.device)
        buffer = cuda.DeviceBuffer(there.device, batch.number * batch.row_bytes)
        host = cuda.PinnedBuffer(there.device, (batch.number, *contract.crop_shape), np.uint8)
        batch.queue(stream, buffer.pointer)
        stream.download(buffer, host.array)
        stream.synchronize()
        return host.array.copy()


@pytest.mark.parametrize("contract", [FER2013, RGB], ids=["gray", "rgb"])
@pytest.mark.parametrize("image", [FRAME, FRAME[..., 0], FRAME[..., ::-1], FRAME[::2, 3:-3]])
def test_crops_are_made_where_the_frame_is(
    there: FrameGpu, image: np.ndarray, contract: Contract
) -> None:
    crops = GpuFrame(image, there).crops(BOXES, contract)
    expected = crop_faces(image, BOXES, contract)
    np.testing.assert_array_equal(made(crops, there, contract), expected)
    np.testing.assert_array_equal(made(crops.part(1, 2), there, contract), expected[1:3])
    np.testing.assert_array_equal(made(crops.part(3, 9).part(0, 1), there, contract), expected[3:])


def test_a_frame_goes_up_once_and_when_it_is_needed(gpu: FakeGpu, there: FrameGpu) -> None:
    frame = GpuFrame(FRAME, there)
    assert "cuMemcpyHtoDAsync" not in gpu.calls
    for contract in (FER2013, RGB):
        made(frame.crops(BOXES, contract), there, contract)
    # The frame, and what the kernel is told twice.
    assert gpu.calls.count("cuMemcpyHtoDAsync") == 3
    assert gpu.launched == [4, 4]


def test_a_gpu_without_room_is_told_and_nothing_is_left(gpu: FakeGpu, there: FrameGpu) -> None:
    live = len(gpu.live)
    for room in range(3):  # for the host's memory, for the GPU's, for an event
        gpu.fail_after = room
        with there.device, pytest.raises(EngineError, match="The GPU is out of memory"):
            GpuFrame(FRAME, there).place()
        gpu.fail_after = -1
        gc.collect()
        assert len(gpu.live) == live
    made(GpuFrame(FRAME, there).crops(BOXES, FER2013), there)


def test_many_threads_use_one_frame(gpu: FakeGpu, there: FrameGpu) -> None:
    frame = GpuFrame(FRAME, there)
    expected = crop_faces(FRAME, BOXES)

    def use(_: int) -> np.ndarray:
        return made(frame.crops(BOXES, FER2013), there)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(use, range(20)):
            np.testing.assert_array_equal(found, expected)
    assert gpu.calls.count("cuMemcpyHtoDAsync") == 21


def test_memory_is_used_again_and_not_hoarded(
    gpu: FakeGpu, there: FrameGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        np.testing.assert_array_equal(
            made(GpuFrame(FRAME, there).crops(BOXES, FER2013), there), crop_faces(FRAME, BOXES)
        )
        gc.collect()
        slots = gpu.calls.count("cuMemHostAlloc")
        gpu.calls.clear()
    assert slots == 1, "nothing but what the test itself downloads into"
    assert there.uploads.idle_bytes > FRAME.nbytes
    monkeypatch.setattr(uploads, "MOST_IDLE", there.uploads.idle_bytes)
    live = len(gpu.live)
    large = np.tile(FRAME, (4, 4, 1))
    made(GpuFrame(large, there).crops(BOXES, FER2013), there)
    gc.collect()
    assert len(gpu.live) == live


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rgb", [False, True])
def test_frames_that_are_on_the_gpu_already(
    gpu: FakeGpu, there: FrameGpu, kind: type[GpuArray], rgb: bool
) -> None:
    bgr = FRAME[..., ::-1] if rgb else FRAME
    array = kind(gpu, FRAME)
    frame = GpuFrame(array, there, rgb=rgb)
    assert frame.shape == FRAME.shape
    np.testing.assert_array_equal(
        made(frame.crops(BOXES, RGB), there, RGB), crop_faces(bgr, BOXES, RGB)
    )
    assert gpu.calls.count("cuMemcpyHtoDAsync") == 1, "only what the kernel is told"
    np.testing.assert_array_equal(frame.on_host(), bgr)
    array.free()


@pytest.mark.parametrize("gray", [False, True])
def test_rows_may_be_padded(gpu: FakeGpu, there: FrameGpu, gray: bool) -> None:
    content = FRAME[..., 0] if gray else FRAME
    whole = np.pad(content, ((0, 0), (0, 16), (0, 0))[: content.ndim])
    array = WithDlpack(gpu, whole)
    array.shape = content.shape
    array.strides = (whole.strides[0], 1) if gray else (whole.strides[0], 3, 1)
    frame = GpuFrame(array, there)
    np.testing.assert_array_equal(
        made(frame.crops(BOXES, FER2013), there), crop_faces(np.ascontiguousarray(content), BOXES)
    )
    np.testing.assert_array_equal(frame.on_host(), content)
    array.free()


@pytest.mark.parametrize(
    ("content", "strides", "says"),
    [
        (
            np.full((4, 4, 3), np.nan, np.float32),
            None,
            r"must be uint8 .*, got float32 \(4, 4, 3\)",
        ),
        (np.zeros((4, 4, 4), np.uint8), None, r"got uint8 \(4, 4, 4\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), None, r"got uint8 \(2, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), None, "with a pixel at least"),
        (np.zeros((4, 4, 3), np.uint8), (12, 6, 2), "without gaps"),
        (np.zeros((4, 4, 3), np.uint8), (3, 12, 1), "without gaps"),
    ],
)
def test_what_is_no_frame(
    gpu: FakeGpu, there: FrameGpu, content: np.ndarray, strides: tuple | None, says: str
) -> None:
    array = WithDlpack(gpu, content)
    array.strides = strides
    with pytest.raises(InputError, match=says):
        GpuFrame(array, there)
    array.device = (2, 3)
    with pytest.raises(InputError, match="on GPU 3, and the engine is on GPU 0"):
        GpuFrame(array, there)


def test_batches_are_joined_in_their_order(there: FrameGpu) -> None:
    other = FRAME[::-1].copy()
    crops = [GpuFrame(image, there).crops(BOXES, FER2013) for image in (FRAME, other)]
    host = crop_faces(FRAME, BOXES[:2])
    batches = [crops[0], host, crops[1].part(1, 3)]
    expected = np.concatenate([crop_faces(FRAME, BOXES), host, crop_faces(other, BOXES)[1:]])
    whole = joined(batches)
    assert isinstance(whole, OnGpu)
    assert len(whole) == 9
    np.testing.assert_array_equal(made(whole, there), expected)
    for start in range(9):
        part = whole.part(start, 3)
        assert part.number == min(3, 9 - start)
        np.testing.assert_array_equal(made(part, there), expected[start : start + 3])
    np.testing.assert_array_equal(joined([host, host]), np.concatenate([host, host]))


def test_no_box_no_crop(there: FrameGpu) -> None:
    none = frames.crop(GpuFrame(FRAME, there), [], RGB)
    assert isinstance(none, np.ndarray)
    assert none.shape == (0, 3, 24, 24)


class TestAGpuThatTakesNoFrames:
    @pytest.fixture(autouse=True)
    def _forget(self) -> Iterator[None]:
        frames._tell.cache_clear()
        yield
        frames._tell.cache_clear()

    def test_a_driver_too_old_for_the_kernel_is_told_once(
        self, gpu: FakeGpu, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = "the provided PTX was compiled with an unsupported toolchain."
        gpu.errors["cuModuleLoadData"] = text
        with caplog.at_level(logging.WARNING):
            assert frames_on(0) is None
            assert frames_on(0) is None
        (record,) = caplog.records
        said = record.getMessage()
        assert said.startswith("Frames are scaled and cropped on the processor, not on cuda:0. ")
        assert text in said
        assert "\n" not in said

    def test_without_cuda_bindings(
        self, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As ONNX Runtime on CUDA may run."""
        del gpu
        monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
        monkeypatch.delenv("FER_EDGE_CUDA")
        with caplog.at_level(logging.WARNING):
            assert frames_on(1) is None
        assert "not on cuda:1" in caplog.text
        assert "pip install" in caplog.text

    def test_on_a_processor_nothing_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        assert frames_on(None) is None
        assert not caplog.records


def test_crops_know_what_they_are(there: FrameGpu) -> None:
    crops = GpuFrame(FRAME, there).crops(BOXES, RGB)
    assert isinstance(crops, Crops)
    assert (len(crops), crops.row_bytes) == (4, 3 * 24 * 24)
    np.testing.assert_array_equal(crops.part(1, 2).on_host(), crop_faces(FRAME, BOXES, RGB)[1:3])
