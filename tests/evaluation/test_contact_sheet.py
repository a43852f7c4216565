from pathlib import Path

import numpy as np
from PIL import Image

from fer_edge.data import FaceDataset
from fer_edge.evaluation import score
from fer_edge.evaluation.contact_sheet import draw_changed, draw_worst, worst_faces
from tests.tiny import FakeEngine

LABELS = np.array([0, 0, 0, 3, 3, 0])
ANGRY = np.array([0.5, 0.1, 0.3, 0.0, 0.2, 0.1])
PROBABILITIES = np.zeros((6, 7), np.float32)
PROBABILITIES[:, 0], PROBABILITIES[:, 3] = ANGRY, 1 - ANGRY
# Each face is of one gray.
GRAYS = np.array([61, 71, 81, 91, 111, 121], np.uint8)
FACES = np.broadcast_to(GRAYS[:, None, None], (6, 48, 48)).copy()


def test_worst_are_the_least_probable_of_their_own_emotion() -> None:
    assert worst_faces(PROBABILITIES, LABELS, 0).tolist() == [1, 5, 2, 0]
    assert worst_faces(PROBABILITIES, LABELS, 0, most=2).tolist() == [1, 5]
    assert worst_faces(PROBABILITIES, LABELS, 1).tolist() == []


def places(pixels: np.ndarray, gray: int) -> tuple[int, int]:
    """Row and column of the upper left corner of a face."""
    found = (pixels == gray).all(axis=2)
    y, x = (int(np.flatnonzero(found.sum(axis=axis) >= 144)[0]) for axis in (1, 0))
    return y, x


def test_the_sheet_has_a_row_per_emotion_with_the_worst_face_first(tmp_path: Path) -> None:
    draw_worst(FaceDataset.from_arrays(FACES, LABELS, "val"), PROBABILITIES, tmp_path / "w.png")
    with Image.open(tmp_path / "w.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image)
    angry = [places(pixels, gray) for gray in GRAYS[[1, 5, 2, 0]]]
    happy = [places(pixels, gray) for gray in GRAYS[[4, 3]]]
    assert angry == sorted(angry)
    assert happy == sorted(happy)
    assert len({y for y, _ in angry}) == len({y for y, _ in happy}) == 1
    assert happy[0][0] > angry[0][0]


def test_the_sheet_of_changes_begins_with_the_largest(tmp_path: Path) -> None:
    data = FaceDataset.from_arrays(FACES, LABELS, "val")
    base, reference = score(FakeEngine(), data)
    predicted = reference.argmax(axis=1)
    for face, certainty in ((1, 0.6), (4, 0.9)):
        reference[face] = (1 - certainty) / 6
        reference[face, (predicted[face] + 1) % 7] = certainty
    changed, _ = score(FakeEngine(), data, reference=reference)
    draw_changed(data, {"fp32": base, "int8": changed}, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        pixels = np.asarray(image)
    (y1, x1), (y4, x4) = places(pixels, GRAYS[1]), places(pixels, GRAYS[4])
    assert y1 == y4
    assert x4 < x1
    assert not (pixels == GRAYS[0]).all(axis=2).sum(axis=0).max() >= 144
