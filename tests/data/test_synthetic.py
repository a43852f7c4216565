import numpy as np
import pytest
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS, Contract
from fer_edge.data import FaceDataset, synthetic_dataset
from fer_edge.errors import UsageError


def test_same_arguments_same_faces() -> None:
    one = synthetic_dataset(70)
    prints = {
        data.fingerprint
        for data in (
            one,
            synthetic_dataset(70),
            synthetic_dataset(70, seed=1),
            synthetic_dataset(70, split="val"),
        )
    }
    assert len(prints) == 3
    assert one.faces.shape == (70, 48, 48)
    assert one.faces.dtype == np.uint8
    assert one.labels.dtype == np.int64
    assert one.counts() == dict.fromkeys(EMOTIONS, 10)


def test_faces_of_another_size_and_colour() -> None:
    contract = Contract(96, "rgb", ("joy", "anger"))
    data = synthetic_dataset(70, contract=contract)
    data.require(contract)
    assert data.counts() == {"joy": 10, "anger": 10}
    assert data.left_out == dict.fromkeys(set(EMOTIONS) - {"happy", "angry"}, 10)
    assert (data.faces[:, 0] == data.faces[:, 2]).all()
    # The same face with more detail, but for the noise: one draw a pixel.
    plain, large = synthetic_dataset(1), synthetic_dataset(1, contract=Contract(96))
    halved = large.faces[0].reshape(48, 2, 48, 2).mean((1, 3))
    assert np.corrcoef(halved.ravel(), plain.faces[0].ravel())[0, 1] > 0.97


def test_faces_use_the_range_of_gray_levels() -> None:
    faces = synthetic_dataset(200).faces
    assert 100 < faces.mean() < 155
    assert faces.std() > 40


def test_linear_model_learns_something_but_not_all() -> None:
    """The best of several ridge regressions on pixels lies between twice chance and 80 %."""

    def design(data: FaceDataset) -> NDArray[np.float32]:
        pixels = data.faces.reshape(len(data), -1).astype(np.float32) / 64 - 2
        return np.hstack([pixels, np.ones((len(data), 1), np.float32)])

    train, val = synthetic_dataset(4000), synthetic_dataset(1000, split="val")
    x, targets = design(train), np.eye(7, dtype=np.float32)[train.labels]
    gram, moment = x.T @ x, x.T @ targets
    accuracies = []
    for penalty in (1e2, 1e3, 1e4):
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram), dtype=np.float32), moment)
        accuracies.append(((design(val) @ weights).argmax(axis=1) == val.labels).mean())
    assert 2 / 7 < max(accuracies) < 0.8


@pytest.mark.parametrize("arguments", [(0,), (5, -1), (5, 0, "all")])
def test_refuses_what_cannot_be(arguments: tuple[object, ...]) -> None:
    with pytest.raises(UsageError, match=r"no .* synthetic faces"):
        synthetic_dataset(*arguments)  # type: ignore[arg-type]
