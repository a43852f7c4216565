import gc

import numpy as np
import pytest

from fer_edge.bench import latency
from fer_edge.bench.latency import measure_latencies, measure_latency
from fer_edge.errors import UsageError
from tests.tiny import FakeEngine


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch):
    monkeypatch.setattr(latency, "WARM_UP_S", 0.0)


def test_a_slow_engine_is_timed_as_slow():
    result = measure_latency(FakeEngine(delay=0.005), 4, seconds=0.1, min_repeats=1)
    assert result.batch == 4
    assert 8 <= result.repeats <= 24
    assert result.p50_ms >= 5
    # Nobody knows the hundredth part of so few.
    assert result.p90_ms is result.p99_ms is None
    assert result.faces_per_second == pytest.approx(4000 / result.mean_ms)


def test_percentiles_are_of_the_timed_calls(monkeypatch):
    monkeypatch.setattr(
        latency, "timed_calls", lambda *_: [int(1e6), int(2e6), int(3e6), int(10e6)]
    )
    result = measure_latency(FakeEngine(), 2)
    assert (result.mean_ms, result.p50_ms, result.faces_per_second) == (4.0, 2.5, 500.0)
    # Every turn had the same median.
    assert result.p50_interval_ms == (2.5, 2.5)


def test_a_percentile_is_given_where_ten_calls_lie_beyond_it(monkeypatch):
    many = [int(1e6 * (1 + i)) for i in range(125)]
    monkeypatch.setattr(latency, "timed_calls", lambda *_: many)
    result = measure_latency(FakeEngine(), 2)
    assert result.repeats == 1000
    # 8 of each of 1 to 125 ms: 900 of 1,000 are at or below 113.
    assert result.p90_ms == pytest.approx(113.0)
    assert result.p99_ms == pytest.approx(124.0, abs=1)


def test_there_are_enough_repeats_however_slow_the_engine():
    assert measure_latency(FakeEngine(), 1, seconds=0.0, min_repeats=20).repeats >= 20


def test_engines_take_turns():
    order = []

    class Noting(FakeEngine):
        def run(self, faces):
            order.append(self.info.precision)
            return super().run(faces)

    measure_latencies(
        [Noting(precision="fp32"), Noting(precision="int8")], 1, seconds=0.0, min_repeats=8
    )
    turns = [name for at, name in enumerate(order) if at == 0 or order[at - 1] != name]
    assert turns == ["fp32", "int8"] * 8


def test_garbage_collection_is_off_while_timing_and_on_after():
    seen = set()

    class Noting(FakeEngine):
        def run(self, faces):
            seen.add(gc.isenabled())
            return super().run(faces)

    measure_latency(Noting(), 1, seconds=0.0)
    assert seen == {False}
    assert gc.isenabled()


def test_given_faces_are_used_and_random_ones_are_the_same_every_time():
    seen = []

    class Noting(FakeEngine):
        def run(self, faces):
            seen.append(faces.copy())
            return super().run(faces)

    given = np.full((3, 1, 48, 48), 9, np.uint8)
    measure_latency(Noting(), 3, seconds=0.0, faces=given)
    np.testing.assert_array_equal(seen[0], given)
    seen.clear()
    measure_latency(Noting(), 3, seconds=0.0)
    measure_latency(Noting(), 3, seconds=0.0)
    np.testing.assert_array_equal(seen[0], seen[-1])
    assert seen[0].std() > 60


@pytest.mark.parametrize("batch", [0, -1, 33])
def test_a_batch_that_an_engine_does_not_take_is_a_usage_error(batch):
    with pytest.raises(UsageError, match=f"takes 1 to 32 faces a call, not {batch}"):
        measure_latencies([FakeEngine(), FakeEngine(max_batch=32)][::-1], batch)


def test_progress_reaches_one():
    seen = []
    measure_latencies([FakeEngine(), FakeEngine()], 1, seconds=0.0, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
