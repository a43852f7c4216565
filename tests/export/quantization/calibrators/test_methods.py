from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import CalibrationError
from fer_edge.export.quantization.calibrators import largest_magnitude, methods
from fer_edge.export.quantization.calibrators.registry import GROUP
from fer_edge.export.quantization.magnitudes import BINS, Magnitudes

METHODS = methods()
BY_HISTOGRAM = ("entropy", "mse", "percentile")


def observe(*arrays):
    magnitudes = Magnitudes()
    for array in arrays:
        magnitudes.add(np.asarray(array, np.float32))
    return magnitudes


def test_minmax_is_the_largest_magnitude():
    assert largest_magnitude("minmax", observe([0.5, -3.0], [1.0]), "tensor") == 3.0


def test_percentile_leaves_out_one_in_ten_thousand():
    values = np.concatenate([np.linspace(0, 1, 99_999), [100.0]])
    assert largest_magnitude("percentile", observe(values), "tensor") == pytest.approx(
        1.0, abs=100 / BINS
    )


def test_entropy_cuts_rare_outliers_of_a_bell():
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(0, 1, 200_000), [40.0]])
    assert 2.5 < largest_magnitude("entropy", observe(values), "tensor") < 10


def test_entropy_keeps_a_uniform_distribution():
    values = np.random.default_rng(0).uniform(0, 1, 200_000)
    assert largest_magnitude("entropy", observe(values), "tensor") > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_range_of_nothing_but_zeros_is_zero(method):
    assert largest_magnitude(method, observe(np.zeros(BINS)), "tensor") == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_range_never_exceeds_what_was_seen(method):
    seen = observe(np.tile([0.1, 0.2, 0.3], BINS))
    assert largest_magnitude(method, seen, "tensor") <= np.float32(0.3)


@pytest.mark.parametrize("method", BY_HISTOGRAM)
def test_too_few_values_for_a_histogram_are_named(method):
    with pytest.raises(CalibrationError, match=f"conv1 has 3 values, too few .* {method} goes by"):
        largest_magnitude(method, observe([0.1, 0.2, 0.3]), "conv1")


def test_the_methods_of_this_package_are_found():
    assert set(METHODS) >= {"entropy", "minmax", "moving-average", "mse", "percentile", "sqnr"}


def test_pages_and_help_have_every_method():
    from fer_edge.cli.arguments import CALIBRATION_METHODS

    others = {entry.name for entry in entry_points(group=GROUP)}
    assert ", ".join(name for name in METHODS if name not in others) == CALIBRATION_METHODS
    page = (Path(__file__).parents[4] / "docs" / "how-to" / "export.md").read_text()
    assert [name for name in METHODS if f"\n| `{name}` |" not in page and name not in others] == []


def test_moving_average_is_the_mean_of_the_batches_maxima():
    assert largest_magnitude("moving-average", observe([1.0, -4.0], [2.0]), "tensor") == 3.0


def test_mse_is_the_best_of_all_ranges():
    values = np.random.default_rng(0).laplace(0, 1, 100_000).astype(np.float32)
    magnitudes = observe(values)

    def error(largest):
        step = largest / 127
        return np.mean((values - np.clip(np.round(values / step), -127, 127) * step) ** 2)

    least = min(error(largest) for largest in np.linspace(1, magnitudes.maximum, 300))
    assert error(largest_magnitude("mse", magnitudes, "tensor")) == pytest.approx(least, rel=0.01)
    assert error(largest_magnitude("minmax", magnitudes, "tensor")) > 1.1 * least


def test_sqnr_is_the_best_of_all_ranges_in_the_mean_over_samples():
    samples = np.random.default_rng(0).laplace(0, 1, (64, 5_000)).astype(np.float32)
    samples[:2] *= 300
    magnitudes = observe(samples)

    def noise(largest):
        step = largest / 127
        error = samples - np.clip(np.round(samples / step), -127, 127) * step
        return np.mean((error**2).mean(axis=1) / (samples**2).mean(axis=1))

    found = largest_magnitude("sqnr", magnitudes, "tensor")
    least = min(noise(largest) for largest in np.geomspace(1, magnitudes.maximum, 1000))
    assert noise(found) == pytest.approx(least, rel=0.01)
    # All values together are ruled by the two samples that are far beyond the others.
    assert noise(largest_magnitude("mse", magnitudes, "tensor")) > 5 * least
    assert noise(largest_magnitude("percentile", magnitudes, "tensor")) > 5 * least


def test_sqnr_covers_what_is_seen_where_nothing_lies_beyond():
    values = np.random.default_rng(0).uniform(-3, 3, (8, 1_000))
    assert largest_magnitude("sqnr", observe(values), "tensor") == pytest.approx(3.0, rel=0.05)


def test_sqnr_takes_samples_without_values():
    values = np.zeros((4, 100))
    values[0] = np.linspace(0, 2, 100)
    assert largest_magnitude("sqnr", observe(values), "tensor") == pytest.approx(2.0, rel=0.05)
