import numpy as np
import pytest

from fer_edge.export.quantization.magnitudes import BINS, Magnitudes


def observe(*arrays):
    magnitudes = Magnitudes()
    for array in arrays:
        magnitudes.add(np.asarray(array, np.float32))
    return magnitudes


def test_histogram_grows_without_losing_counts():
    small, large = np.linspace(0, 1, 1000), np.linspace(0, 7, 500)
    magnitudes = observe(small, large)
    assert magnitudes.limit == 8.0
    assert magnitudes.counts.sum() == 1500
    width = 8.0 / BINS
    expected = (np.concatenate([small, large]) < 4.0).sum()
    assert magnitudes.counts[: int(4.0 / width)].sum() == pytest.approx(expected, abs=2)


def test_zeros_before_the_first_value_are_kept():
    magnitudes = observe(np.zeros(10), [2.0])
    assert magnitudes.counts[0] == 10
    assert magnitudes.counts.sum() == 11
