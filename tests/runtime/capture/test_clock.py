import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.runtime.capture.clock import Clock

TENTHS = [i / 10 for i in range(6)]


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ([0.0] * 12, "stands still"),
        (TENTHS + TENTHS, "goes back"),
        (TENTHS + [t + 36_000 for t in TENTHS], "leaps"),
        (TENTHS + [t - 36_000 for t in TENTHS], "goes back"),
        ([math.nan] * 12, "no time"),
        ([*TENTHS, math.inf, *TENTHS], "without a time"),
        ([t - 5 for t in TENTHS] + TENTHS, "before 0"),
        ([None] * 12, "no times"),
        (TENTHS[::-1], "goes back"),
    ],
)
def test_what_cannot_be_is_counted_and_named(told: list[float | None], fault: str) -> None:
    clock = Clock(10)
    times = np.array([clock.time(one) for one in told], float)
    np.testing.assert_allclose(np.diff(times)[:5], 0.1, atol=0.05)
    if fault != "before 0":
        assert times[-1] - times[0] == pytest.approx(0.1 * (len(told) - 1), abs=0.11)
    assert fault in str(clock.fault)


def test_ticks_are_no_times() -> None:
    clock = Clock(10)
    times = [clock.time(i / 90_000) for i in range(20)]
    assert times[-1] == pytest.approx(1.8, abs=0.2)
    assert "creeps" in str(clock.fault)


@pytest.mark.parametrize(
    "told",
    [
        TENTHS,
        [0, 0.1, 0.11, 30, 30.1],
        [0, 3600, 7200, 10_800, 14_400, 18_000],
        [2.5, 3.0, 9.0],
        [0, 0.033, 1, 1 + 1 / 90_000, 1.033],
    ],
)
def test_what_can_be_stays_as_it_is(told: list[float]) -> None:
    clock = Clock()
    assert [clock.time(one) for one in told] == pytest.approx(told, abs=1e-9)
    assert clock.fault is None


def test_one_frame_with_anothers_time_moves_nothing() -> None:
    clock = Clock(10)
    assert [clock.time(t) for t in (0, 0.1, 0.1, 0.3, 0.4)] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4]
    )


def test_images_that_stand_for_themselves_have_none() -> None:
    clock = Clock()
    assert [clock.time(None)] * 2 == [None] * 2
    assert clock.fault is None


@given(
    st.lists(st.none() | st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])),
    st.none() | st.floats(0.1, 240),
)
def test_times_are_finite_and_rise_whatever_is_told(
    told: list[float | None], rate: float | None
) -> None:
    clock = Clock(rate)
    times = [now for one in told if (now := clock.time(one)) is not None]
    assert np.isfinite(times).all()
    assert (np.diff(times) > 0).all()
    assert all(now >= 0 for now in times)
