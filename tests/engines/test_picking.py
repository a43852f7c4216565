"""What is picked of a detector's outputs, on the simulated GPU."""

import numpy as np
import pytest

from fer_edge.detector_contract import BOXES, LANDMARKS, SCORES
from fer_edge.engines import cuda, picking
from fer_edge.engines.frames import FrameGpu, frames_on
from fer_edge.engines.picking import Candidates, Surest

from .cuda.fakes import PACKAGES, FakeGpu

ANCHORS = 500


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def there(gpu: FakeGpu) -> FrameGpu:
    del gpu
    found = frames_on(0)
    assert found is not None
    return found


def outputs(frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.random((frames, ANCHORS, *rest), np.float32)
        for name, rest in ((SCORES, ()), (BOXES, (4,)), (LANDMARKS, (10,)))
    }


def picked(
    there: FrameGpu, picker: picking.Picker, arrays: dict[str, np.ndarray]
) -> list[Candidates]:
    with there.device:
        sent = there.uploads.send(*arrays.values())
        stream = cuda.Stream(there.device)
        stream.wait(sent.arrived)
        pointers = dict(zip(arrays, sent.pointers, strict=True))
        picker.queue(stream, pointers, len(arrays[SCORES]))
        stream.synchronize()
        return picker.collect(stream)


@pytest.mark.parametrize("least", [0.999, 0.9, 0.5, 0.0, 2.0])
@pytest.mark.parametrize("frames", [1, 3])
def test_each_frame_gets_its_rows_in_order(
    there: FrameGpu, gpu: FakeGpu, least: float, frames: int
) -> None:
    arrays = outputs(frames)
    pick = Surest(there, ANCHORS, least)
    with there.device:
        picker = pick.picker(4)
    pick.apply(picker)
    gpu.downloaded.clear()
    found = picked(there, picker, arrays)
    assert len(found) == frames
    for row, one in enumerate(found):
        sure = arrays[SCORES][row] >= np.float32(least)
        np.testing.assert_array_equal(one.scores, arrays[SCORES][row][sure])
        np.testing.assert_array_equal(one.boxes, arrays[BOXES][row][sure])
        np.testing.assert_array_equal(one.landmarks, arrays[LANDMARKS][row][sure])
    first = 64 * (1 + frames * 128)
    count = sum(len(one.scores) for one in found)
    more = [64 * (1 + count)] if count > frames * 128 else []
    assert gpu.downloaded == [first, *more]


def test_answers_are_the_callers_to_keep_and_the_next_batch_begins_at_none(there: FrameGpu) -> None:
    with there.device:
        picker = Surest(there, ANCHORS, 0.9).picker(4)
    for least in (0.9, 0.95):
        Surest(there, ANCHORS, least).apply(picker)
        first = picked(there, picker, outputs(2, seed=1))
        kept = [one.scores.copy() for one in first]
        second = picked(there, picker, outputs(4, seed=2))
        assert [len(one.scores) for one in second] == [
            int((scores >= np.float32(least)).sum()) for scores in outputs(4, seed=2)[SCORES]
        ]
        for one, scores in zip(first, kept, strict=True):
            np.testing.assert_array_equal(one.scores, scores)


def test_a_score_that_is_no_number_is_not_left_out(there: FrameGpu) -> None:
    arrays = outputs(1)
    arrays[SCORES][0, 7] = np.nan
    pick = Surest(there, ANCHORS, 2.0)
    with there.device:
        picker = pick.picker(1)
    pick.apply(picker)
    (found,) = picked(there, picker, arrays)
    assert np.isnan(found.scores).tolist() == [True]
    np.testing.assert_array_equal(found.boxes, arrays[BOXES][0, 7:8])


def test_its_memory_is_freed(there: FrameGpu, gpu: FakeGpu) -> None:
    live = len(gpu.live)
    with there.device:
        picker = Surest(there, ANCHORS, 0.5).picker(2)
    assert len(gpu.live) == live + 3
    picker.free()
    assert len(gpu.live) == live
