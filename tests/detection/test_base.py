import numpy as np
import pytest

from fer_edge.detection import Detection, detect, frames_at_once
from fer_edge.errors import InputError
from fer_edge.pixels.boxes import Box

BOX = Box(1, 2, 30, 40)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "gave NoneType in the place of a list"),
        (np.zeros((2, 5)), "gave ndarray in the place of a list"),
        ([(1, 2, 30, 40, 0.9)], "gave tuple in the place of a Detection"),
        ([Detection((1, 2, 30, 40), 0.9)], "gave tuple in the place of a Box"),
        ([Detection(BOX._replace(width=0), 0.9)], r"a box without an area, \(1, 2, 0, 40\)"),
        ([Detection(BOX, 0.9), Detection(BOX._replace(x=np.nan), 0.9)], "without an area"),
    ],
)
def test_a_detector_that_gives_something_else(found: object, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        detect(lambda _: found, np.zeros((90, 120), np.uint8))
    assert "It must return [Detection(Box(x, y, width, height), score)" in str(error.value)


def test_a_tuple_of_detections_will_do() -> None:
    assert detect(lambda _: (Detection(BOX, 0.9),), np.zeros((9, 9), np.uint8)) == [
        Detection(BOX, 0.9)
    ]


def test_a_detector_says_how_many_frames_it_may_be_given_at_once() -> None:
    def detector(image: np.ndarray) -> list[Detection]:
        del image
        return []

    assert frames_at_once(detector) == 1
    detector.at_once = 3  # type: ignore[attr-defined]
    assert frames_at_once(detector) == 3
    for told in (0, "2", None):
        detector.at_once = told  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="at_once must be a number of 1 or more"):
            frames_at_once(detector)
