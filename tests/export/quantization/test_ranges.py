import numpy as np
import pytest

from fer_edge.export.quantization.ranges import BINS, HISTOGRAM_METHODS, METHODS, Magnitudes


def observe(*arrays):
    magnitudes = Magnitudes()
    for array in arrays:
        magnitudes.add(np.asarray(array, np.float32))
    return magnitudes


def test_minmax_is_the_largest_magnitude():
    assert observe([0.5, -3.0], [1.0]).range("minmax") == 3.0


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


def test_percentile_leaves_out_one_in_ten_thousand():
    values = np.concatenate([np.linspace(0, 1, 99_999), [100.0]])
    assert observe(values).range("percentile") == pytest.approx(1.0, abs=100 / BINS)


def test_entropy_cuts_rare_outliers_of_a_bell():
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(0, 1, 200_000), [40.0]])
    assert 2.5 < observe(values).range("entropy") < 10


def test_entropy_keeps_a_uniform_distribution():
    values = np.random.default_rng(0).uniform(0, 1, 200_000)
    assert observe(values).range("entropy") > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_range_of_nothing_but_zeros_is_zero(method):
    assert observe(np.zeros(5)).range(method) == 0.0


@pytest.mark.parametrize("method", HISTOGRAM_METHODS)
def test_range_never_exceeds_what_was_seen(method):
    assert observe([0.1, 0.2, 0.3]).range(method) <= np.float32(0.3)


def test_moving_average_is_the_mean_of_the_batches_maxima():
    assert observe([1.0, -4.0], [2.0]).range("moving-average") == 3.0


def test_mse_is_the_best_of_all_ranges():
    values = np.random.default_rng(0).laplace(0, 1, 100_000).astype(np.float32)
    magnitudes = observe(values)

    def error(largest):
        step = largest / 127
        return np.mean((values - np.clip(np.round(values / step), -127, 127) * step) ** 2)

    least = min(error(largest) for largest in np.linspace(1, magnitudes.maximum, 300))
    assert error(magnitudes.range("mse")) == pytest.approx(least, rel=0.01)
    assert error(magnitudes.range("minmax")) > 1.1 * least
