"""The scenarios on engines whose speed is known."""

import numpy as np
import pytest

from fer_edge.bench import energy, scenarios
from fer_edge.bench.percentiles import mean_interval, percentile, percentile_interval
from fer_edge.bench.scenarios import run_scenario
from fer_edge.errors import UsageError
from tests.tiny import FakeEngine


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(scenarios, "WARM_UP_S", 0.0)


@pytest.mark.parametrize(("name", "faces"), [("single-stream", 1), ("multi-stream", 8)])
def test_streams_ask_again_when_they_are_answered(name: str, faces: int) -> None:
    engine = FakeEngine(delay=0.0005)
    result = run_scenario(engine, name, seconds=0.0)
    assert set(engine.batches) == {faces}
    assert result.queries == 1024
    assert result.latency_ms >= 0.5
    assert result.interval_ms[0] <= result.latency_ms <= result.interval_ms[1]
    assert result.percentile == {1: 90, 8: 99}[faces]


def test_offline_tells_a_rate_in_batches_as_large_as_the_engine_takes() -> None:
    engine = FakeEngine(delay=0.002, max_batch=16)
    result = run_scenario(engine, "offline", seconds=0.1)
    assert set(engine.batches) == {16}
    assert result.percentile is None
    # 16 faces take 2 ms and the call itself.
    assert 100 < result.faces_per_second < 8000


@pytest.mark.parametrize(("most", "calls"), [(None, 16), (48, 22)])
def test_offline_is_of_no_fewer_faces_than_the_page_says(most: int | None, calls: int) -> None:
    result = run_scenario(FakeEngine(max_batch=most), "offline", seconds=0.0)
    assert result.queries == calls
    assert result.queries * result.faces_per_query >= 1024


def test_server_finds_a_rate_between_what_one_call_and_what_batches_give() -> None:
    engine = FakeEngine(delay=0.002)
    result = run_scenario(engine, "server", seconds=0.5, bound_ms=100)
    assert result.met
    assert result.latency_ms <= 100
    # One by one it would be 500 a second; what waits is answered together.
    assert result.faces_per_second > 500
    assert max(engine.batches) > 1


def test_server_asks_no_fewer_faces_than_an_engine_takes() -> None:
    engine = FakeEngine(delay=0.001, min_batch=4)
    assert run_scenario(engine, "server", seconds=0.1, bound_ms=100).met
    assert min(engine.batches) == 4


def test_server_gives_up_soon_where_no_rate_keeps_the_bound() -> None:
    engine = FakeEngine(delay=0.005)
    result = run_scenario(engine, "server", seconds=0.1, bound_ms=1)
    assert not result.met
    assert result.latency_ms is None
    assert len(engine.batches) < 100


def test_an_engine_that_takes_no_such_batch_is_named() -> None:
    with pytest.raises(UsageError, match="multi-stream asks 8 faces"):
        run_scenario(FakeEngine(max_batch=4), "multi-stream", seconds=0.0)


def test_intervals_of_percentiles_cover_them_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    truth = -np.log(0.1)
    covered = 0
    for _ in range(400):
        low, high = percentile_interval(generator.exponential(1, 400), 0.9)
        covered += low <= truth <= high
    # 400 trials of 0.95: 4 standard errors are 4.4 points; order statistics err on the wide side.
    assert 0.906 < covered / 400 <= 1


def test_a_percentile_of_too_few_is_none() -> None:
    assert percentile(range(999), 0.99) is None
    assert percentile(range(1001), 0.99) == pytest.approx(990)


def test_the_interval_of_a_mean_is_students() -> None:
    assert mean_interval([1.0]) is None
    low, high = mean_interval([1.0, 2.0, 3.0])
    # t of two degrees of freedom is 4.303, the standard error 1 / sqrt(3).
    assert (high - low) / 2 == pytest.approx(4.303 / 3**0.5)


def test_energy_is_read_over_the_counters_end(tmp_path, monkeypatch) -> None:
    zone, part = tmp_path / "intel-rapl:0", tmp_path / "intel-rapl:0:0"
    board = tmp_path / "intel-rapl:1"
    for folder, name in ((zone, "package-0"), (part, "core"), (board, "psys")):
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text("999999\n")
        (folder / "energy_uj").write_text("900000\n")
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    with energy.EnergyMeter() as meter:
        for folder in (zone, board):
            (folder / "energy_uj").write_text("400000\n")
    # The cores are part of the package, and the package of the board: neither counts twice.
    assert meter.joules == pytest.approx(0.5)


def test_without_counters_there_is_no_energy(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    with energy.EnergyMeter() as meter:
        pass
    assert meter.joules is None
