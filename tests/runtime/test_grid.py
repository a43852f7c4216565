import numpy as np
import pytest

from fer_edge.runtime.grid import fit, grid


def plain(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_one_picture_stays_as_it_is() -> None:
    picture = plain(30, 40, 7)
    assert grid([picture]) is picture


@pytest.mark.parametrize(("n", "shape"), [(2, (90, 160)), (3, (90, 160)), (5, (90, 159))])
def test_pictures_stand_in_rows(n: int, shape: tuple[int, int]) -> None:
    rows = 1 if n == 2 else 2
    columns = 3 if n == 5 else 2
    whole = grid([plain(90, 160, 10 * (i + 1)) for i in range(n)], width=160, height=90)
    assert whole.shape == (*shape, 3)
    for i in range(n):
        middle = whole[
            int((i // columns + 0.5) * shape[0] / rows),
            int((i % columns + 0.5) * shape[1] / columns),
        ]
        assert middle.tolist() == [10 * (i + 1)] * 3


def test_what_does_not_fill_its_place_has_black_around_it() -> None:
    fitted = fit(plain(100, 100, 200), 200, 100)
    assert fitted.shape == (100, 200, 3)
    assert (fitted[:, 50:150] == 200).all()
    assert not fitted[:, :50].any()
    assert not fitted[:, 150:].any()
    assert fit(plain(1, 1000, 200), 10, 10).any()
