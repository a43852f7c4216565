import numpy as np
import pytest
from PIL import Image

from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_face, crop_faces, to_face

FRAME = np.random.default_rng(2).integers(0, 256, (120, 160, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "box",
    [
        Box(30, 20, 50, 60),
        Box(-20, -10, 60, 60),
        Box(130, 90, 80, 70),
        Box(2.4, 7.6, 9, 8),
        Box(300, 40, 9, 9),
    ],
)
def test_the_crop_is_the_one_that_models_are_trained_on(box: Box) -> None:
    gray = Image.fromarray(FRAME[..., ::-1]).convert("L")
    (face,) = crop_faces(FRAME, [box])
    np.testing.assert_array_equal(face, to_face(crop_face(gray, box)))


def test_gray_frames_and_frames_without_faces() -> None:
    gray = FRAME[..., 0]
    (face,) = crop_faces(gray, [Box(10, 10, 48 / 1.1, 48 / 1.1)])
    assert face.shape == (48, 48)
    assert crop_faces(gray, []).shape == (0, 48, 48)
