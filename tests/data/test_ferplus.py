from pathlib import Path

import numpy as np
import pytest

from fer_edge.data import FaceDataset
from fer_edge.data.ferplus import apply_votes, read_votes
from fer_edge.errors import DataError
from tests.data.conftest import FACES

HEADER = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
)
LINES = [
    "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0",
    "PublicTest,fer1.png,0,9,0,0,0,0,0,1,0,0",
    "Training,fer2.png,1,0,0,5,4,0,0,0,0,0",
    "Training,,0,0,0,0,0,0,0,0,0,10",
    "Training,fer4.png,0,5,5,0,0,0,0,0,0,0",
    "Training,fer5.png,0,5,5,0,0,0,0,0,0,0",
    "Training,fer6.png,2,0,0,0,0,0,0,4,4,0",
]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    return write(tmp_path / "fer2013new.csv", *LINES)


@pytest.fixture
def train() -> FaceDataset:
    names = np.array([f"line {i}" for i in range(6)])
    return FaceDataset.from_arrays(FACES[:6], np.array([0, 4, 6, 5, 0, 6]), "train", names=names)


def test_votes_are_in_label_order(votes: Path) -> None:
    assert read_votes(votes, "val").tolist() == [[0, 0, 0, 9, 0, 0, 0, 1, 0, 0]]


def test_majority_and_ties(votes: Path, train: FaceDataset) -> None:
    data = apply_votes(train, read_votes(votes, "train"), "it", soft=False)
    # Not a face and contempt are left out; a tie of happy and surprise goes to the FER2013
    # label surprise, and without one to happy, the first.
    assert data.labels.tolist() == [6, 4, 5, 3]
    assert (data.faces == FACES[[0, 1, 3, 4]]).all()
    assert data.names is not None
    assert data.names.tolist() == ["line 0", "line 1", "line 3", "line 4"]
    assert data.soft_labels is None
    assert data.fingerprint != train.fingerprint


def test_soft_labels_are_shares(votes: Path, train: FaceDataset) -> None:
    data = apply_votes(train, read_votes(votes, "train"), "it", soft=True)
    assert data.soft_labels is not None
    assert data.soft_labels.dtype == np.float32
    np.testing.assert_allclose(data.soft_labels[0], [0.3, 0.2, 0, 0, 0.1, 0, 0.4])


def test_votes_on_other_faces(votes: Path, train: FaceDataset) -> None:
    with pytest.raises(DataError, match=r"it has votes on 6 faces of split train.* 5\."):
        apply_votes(train.subset(range(5)), read_votes(votes, "train"), "it", soft=False)


def test_no_face_left(train: FaceDataset) -> None:
    nothing = np.zeros((6, 10), np.int64)
    nothing[:, 9] = 10
    with pytest.raises(DataError, match="it leaves no face of split train"):
        apply_votes(train, nothing, "it", soft=False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Testing,,4,0,0,1,3,2,0,0,0,0", "line 3: Usage is 'Testing'"),
        ("Training,,4,0,0,1,3,-2,0,0,0,0", "line 3: a number of votes"),
        ("Training,,4,0,0,1,3,,0,0,0,0", "line 3: a number of votes"),
        ("Training,,0,0,0,0,0,0,0,0,0,0", "line 3: there are no votes"),
        ("Training,,4,0,0", "line 3: 5 fields instead of 12"),
    ],
)
def test_names_the_bad_line(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "v.csv", LINES[0], line)
    with pytest.raises(DataError, match=message):
        read_votes(path, "train")


def test_missing_and_foreign_file(tmp_path: Path, fer_csv: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        read_votes(tmp_path / "gone.csv", "train")
    with pytest.raises(DataError, match="line 1: the header has no column anger"):
        read_votes(fer_csv, "train")
