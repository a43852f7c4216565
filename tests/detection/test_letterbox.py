import sys

import numpy as np
import pytest

from fer_edge.detection import letterbox
from fer_edge.detection.letterbox import (
    MARGIN,
    best_bucket,
    letterboxed,
    scale_into,
    standard_bucket,
)
from fer_edge.detector_contract import BUCKETS, Bucket


@pytest.mark.parametrize(
    ("frame", "size", "bucket"),
    [
        ((640, 480), 640, (640, 480)),
        ((1280, 720), 640, (640, 384)),
        ((1920, 1088), 640, (640, 384)),
        ((720, 1280), 640, (384, 640)),
        ((4000, 3000), 1280, (1280, 960)),
        ((700, 700), 640, (640, 640)),
        ((320, 240), 640, (320, 256)),
        ((321, 240), 640, (640, 384)),
        ((1, 1), 640, (320, 192)),
        ((7680, 4320), 640, (640, 384)),
        ((10_000, 1), 640, (640, 384)),
        ((640, 480), 32, (32, 32)),
    ],
)
def test_frames_share_a_few_sizes(
    frame: tuple[int, int], size: int, bucket: tuple[int, int]
) -> None:
    found = standard_bucket(*frame, size)
    assert found == bucket
    scale = scale_into(*frame, found, size)
    assert scale >= 0.97 * min(size / max(frame), 1)


@pytest.mark.parametrize(
    ("frame", "size", "bucket"),
    [
        ((640, 480), 640, (640, 480)),
        ((1280, 720), 640, (640, 480)),
        ((1280, 720), 960, (960, 544)),
        ((200, 100), 640, (320, 240)),
        ((480, 640), 640, (960, 544)),  # the largest scale that can be had
    ],
)
def test_the_smallest_size_of_an_artifact_that_will_do(
    frame: tuple[int, int], size: int, bucket: tuple[int, int]
) -> None:
    assert best_bucket(*frame, BUCKETS, size) == bucket


def test_a_frame_that_fits_is_not_copied() -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    found = letterboxed(frame, Bucket(64, 48), 1.0)
    assert found.shape == (1, 48, 64, 3)
    assert np.shares_memory(found, frame)


def test_a_small_frame_lies_in_the_corner_as_it_is() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    (found,) = letterboxed(frame, Bucket(64, 48), 1.0)
    np.testing.assert_array_equal(found[:9, :11], frame)
    assert (found[9:] == MARGIN).all()
    assert (found[:9, 11:] == MARGIN).all()
    (gray,) = letterboxed(frame[..., 0], Bucket(64, 48), 1.0)
    assert (gray[:9, :11] == frame[..., :1]).all()


@pytest.mark.parametrize("opencv", [True, False])
@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize("times", [1.5, 2, 3, 7])
def test_shrinking_takes_all_pixels_into_account(
    opencv: bool, gray: bool, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if opencv:
        pytest.importorskip("cv2")
    else:
        monkeypatch.setattr(letterbox, "_cv2", lambda: None)
    # A fine pattern, which sampling without regard for what lies between turns into a coarse one.
    rows, columns = np.indices((420, 630))
    image = ((rows + columns) % 2 * 255).astype(np.uint8)
    if not gray:
        image = np.stack([image, image, image], axis=-1)
    image = image[::-1]  # not in one piece
    size = (round(630 / times), round(420 / times))
    found = letterbox.shrunk(image, size)
    assert found.shape[:2] == size[::-1]
    assert abs(found.mean() - 127.5) < 8
    if times >= 2:
        assert found.std() < 40


def test_without_opencv_pillow_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    letterbox._cv2.cache_clear()
    try:
        assert letterbox.shrunk(np.zeros((90, 120, 3), np.uint8), (40, 30)).shape == (30, 40, 3)
    finally:
        letterbox._cv2.cache_clear()
