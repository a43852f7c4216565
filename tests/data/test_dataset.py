import numpy as np

from fer_edge.data import FaceDataset
from tests.data.conftest import FACES

LABELS = np.arange(12) % 7
SOFT = np.eye(7, dtype=np.float32)[LABELS]
NAMES = np.array([f"face {i}" for i in range(12)])


def test_counts_name_every_emotion() -> None:
    data = FaceDataset.from_arrays(FACES[:2], np.array([3, 3]), "val")
    assert data.counts() == {
        "angry": 0,
        "disgust": 0,
        "fear": 0,
        "happy": 2,
        "sad": 0,
        "surprise": 0,
        "neutral": 0,
    }


def test_subset_keeps_everything_in_order() -> None:
    data = FaceDataset.from_arrays(FACES, LABELS, "train", soft_labels=SOFT, names=NAMES)
    part = data.subset([5, 2])
    assert len(part) == 2
    assert (part.faces == FACES[[5, 2]]).all()
    assert part.labels.tolist() == [5, 2]
    assert part.soft_labels is not None
    assert part.soft_labels.argmax(1).tolist() == [5, 2]
    assert part.names is not None
    assert part.names.tolist() == ["face 5", "face 2"]
    assert data.subset(LABELS == 6).names.tolist() == ["face 6"]  # type: ignore[union-attr]


def test_fingerprint_is_of_the_content() -> None:
    data = FaceDataset.from_arrays(FACES, LABELS, "train", names=NAMES)
    same = FaceDataset.from_arrays(FACES.copy(), LABELS, "val")
    assert data.fingerprint == same.fingerprint == data.subset(range(12)).fingerprint
    faces, labels = FACES.copy(), LABELS.copy()
    faces[3, 4, 5] ^= 1
    labels[0] = 1
    others = [
        FaceDataset.from_arrays(faces, LABELS, "train"),
        FaceDataset.from_arrays(FACES, labels, "train"),
        FaceDataset.from_arrays(FACES, LABELS, "train", soft_labels=SOFT),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 4
