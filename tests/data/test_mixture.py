import numpy as np
import pytest

from fer_edge.data import FaceDataset, mix
from fer_edge.errors import UsageError
from tests.data.conftest import FACES


def faces(chosen: list[int], *, soft: bool = False, named: bool = True) -> FaceDataset:
    """The faces of those numbers; face i has label i modulo 7."""
    shares = np.full((len(chosen), 7), 1 / 7, np.float32)
    return FaceDataset.from_arrays(
        FACES[chosen],
        np.array(chosen, np.int64) % 7,
        "train",
        soft_labels=shares if soft else None,
        names=np.array([f"face {i}" for i in chosen]) if named else None,
    )


NONE = faces([])


def test_joins_in_order_with_the_weight_of_each_set() -> None:
    mixture, weights = mix([faces([0, 8]), faces([10])], [1, 0.5], held_out=NONE)
    assert (mixture.faces == FACES[[0, 8, 10]]).all()
    assert mixture.labels.tolist() == [0, 1, 3]
    assert mixture.names is not None
    assert mixture.names.tolist() == ["face 0", "face 8", "face 10"]
    assert mixture.split == "train"
    assert mixture.soft_labels is None
    assert weights.tolist() == [1, 1, 0.5]
    assert weights.dtype == np.float32


def test_one_set_stays_as_it_is() -> None:
    data = faces([3, 4])
    mixture, weights = mix([data], [1], held_out=NONE)
    assert mixture.fingerprint == data.fingerprint
    assert weights.tolist() == [1, 1]


def test_second_sets_never_bring_held_out_faces() -> None:
    sets = [faces([0, 1]), faces([1, 2, 3]), faces([2])]
    mixture, weights = mix(sets, [1, 2, 3], held_out=faces([1, 2]))
    assert (mixture.faces == FACES[[0, 1, 3]]).all()
    assert weights.tolist() == [1, 1, 2]


def test_hard_labels_become_one_hot_beside_soft_ones() -> None:
    mixture, _ = mix([faces([0], soft=True), faces([9])], [1, 1], held_out=NONE)
    assert mixture.soft_labels is not None
    assert mixture.soft_labels.dtype == np.float32
    assert mixture.soft_labels[0] == pytest.approx(1 / 7)
    assert mixture.soft_labels[1].tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_names_only_where_every_set_has_them() -> None:
    mixture, _ = mix([faces([0]), faces([1], named=False)], [1, 1], held_out=NONE)
    assert mixture.names is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "differ in number: 1 and 2"),
        ([1.0, 0.0], "is 0"),
        ([1.0, -1.0], "is -1"),
        ([float("nan"), 1.0], "is nan"),
    ],
)
def test_refuses_other_weights(weights: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mix([faces([0]), faces([1])], weights, held_out=NONE)
