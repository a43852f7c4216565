import numpy as np
import pytest

from fer_edge.export.quantization.magnitudes import BINS, Magnitudes, fine_values


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


def test_every_sample_counts_alike_whatever_its_values_are():
    values = np.random.default_rng(0).normal(0, 1, (5, 2_000)) * np.logspace(-3, 3, 5)[:, None]
    magnitudes = observe(values[:2], values[2:])
    there = magnitudes.relative > 0
    shares = magnitudes.relative[there] * fine_values()[there] ** 2
    # The bins are a 32nd of an octave wide at most: their middles are 1.6 % from a value at most.
    assert shares.sum() == pytest.approx(5.0, rel=0.03)
    assert magnitudes.relative[0] == 0
