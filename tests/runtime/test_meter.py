import numpy as np
import pytest

from fer_edge.runtime.meter import Meter
from tests.moments import moment


def test_nothing_is_known_of_nothing() -> None:
    meter = Meter()
    assert (meter.frames, meter.fps, meter.mean_fps, meter.age_ms(0.5)) == (0, None, None, None)
    meter.add(moment())
    assert (meter.frames, meter.fps, meter.mean_fps) == (1, None, None)


def test_rates_of_all_and_of_the_newest() -> None:
    meter = Meter()
    for i in range(40):
        meter.add(moment(captured=float(i)))
    for i in range(30):
        meter.add(moment(captured=39 + (i + 1) / 10))
    assert meter.fps == pytest.approx(10)
    assert meter.mean_fps == pytest.approx(69 / 42)


def test_ages_to_one_percent() -> None:
    ages = np.random.default_rng(0).lognormal(4, 1, 1000)
    meter = Meter()
    for age in ages:
        meter.add(moment(captured=0.0, age_ms=age))
    for share in (0.5, 0.99, 1.0):
        exact = np.quantile(ages, share, method="inverted_cdf")
        assert meter.age_ms(share) == pytest.approx(exact, rel=0.011)
    meter.add(moment(captured=0.0, age_ms=0))
    assert meter.age_ms(0.0001) < 0.01
