import numpy as np
import pytest

from fer_edge.data.scenes import MOST, Scenes
from fer_edge.detector_contract import Bucket
from fer_edge.errors import InputError

FACES = np.full((5, 1, 48, 48), 255, np.uint8)


@pytest.mark.parametrize("size", [Bucket(640, 480), Bucket(240, 320), Bucket(96, 64)], ids=str)
def test_faces_lie_where_they_are_said_to(size):
    scenes = Scenes(FACES, size, 20, seed=3)
    counts = set()
    for index in range(len(scenes)):
        frame, boxes = scenes.scene(index)
        assert frame.shape == (size.height, size.width, 3)
        bright = np.zeros(frame.shape[:2], bool)
        for x0, y0, x1, y1 in boxes.astype(int):
            assert 0 <= x0 < x1 <= size.width
            assert 0 <= y0 < y1 <= size.height
            assert not bright[y0:y1, x0:x1].any(), "two faces overlap"
            bright[y0:y1, x0:x1] = True
        np.testing.assert_array_equal((frame == 255).all(axis=2), bright)
        counts.add(len(boxes))
    assert counts <= set(range(1, MOST + 1))
    assert len(counts) > 3


def test_a_scene_is_the_same_each_time_and_another_by_another_seed():
    one, again, other = (Scenes(FACES, Bucket(96, 64), 2, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.frames(), again.frames())
    assert not np.array_equal(one.frames(), other.frames())


def test_colours_come_as_cameras_give_them():
    red = np.zeros((1, 3, 48, 48), np.uint8)
    red[:, 0] = 255
    frame, boxes = Scenes(red, Bucket(96, 64), 1).scene(0)
    x0, y0, x1, y1 = boxes[0].astype(int)
    assert (frame[y0:y1, x0:x1] == (0, 0, 255)).all()


def test_without_faces_there_are_no_scenes():
    with pytest.raises(InputError, match="there are none"):
        Scenes(FACES[:0], Bucket(96, 64), 1)
