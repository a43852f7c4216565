from dataclasses import replace

import pytest
from rich.console import Console

from fer_edge.bench import device, latency
from fer_edge.bench.device import measure_device
from fer_edge.bench.report import render
from fer_edge.bench.suite import run_bench
from fer_edge.engines.base import DeviceTimes
from tests.engines.conftest import fake_tensorrt, gpu, package  # noqa: F401
from tests.tiny import FakeEngine, tiny_artifact


class OnGpu(FakeEngine):
    """Tells parts of 1, 2, 3 and 4 ms."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.at_once: list[int] = []

    def run_timed(self, faces):
        return self.run(faces), DeviceTimes(1.0, 2.0, 3.0, 4.0)

    def run_many(self, batches):
        self.at_once.append(len(batches))
        return [self.run(faces) for faces in batches]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(latency, "WARM_UP_S", 0.0)
    monkeypatch.setattr(device, "WARM_UP_S", 0.0)


def on_gpu(**options):
    engine = OnGpu(**options)
    engine.info = replace(engine.info, buckets=(1, 8))
    return engine


def test_parts_are_told_apart():
    found = measure_device(on_gpu(), 8, seconds=0.0)
    middles = [
        getattr(found, part).p50_ms
        for part in ("host_to_device", "compute", "device_to_host", "enqueue", "latency")
    ]
    assert middles == [1.0, 2.0, 3.0, 4.0, 6.0]
    assert found.repeats >= 20
    assert found.compute.p99_ms == 2.0


def test_the_rate_is_of_many_batches_at_once():
    engine = on_gpu(delay=0.002)
    found = measure_device(engine, 4, seconds=0.05)
    assert set(engine.at_once) == {16}
    assert found.two_in_flight_faces_per_second == pytest.approx(4 / 0.002, rel=0.5)


@pytest.mark.parametrize("engine", [FakeEngine(), on_gpu()])
def test_what_is_not_told_is_not_made_up(engine):
    assert measure_device(engine, 64, seconds=0.0) is None


@pytest.mark.usefixtures("fake_tensorrt")
def test_on_the_simulated_gpu():
    from fer_edge.engines.tensorrt import TensorRTEngine

    with TensorRTEngine(b"plan", "tensorrt", precision="fp16") as engine:
        found = measure_device(engine, 8, seconds=0.01)
        assert measure_device(engine, 9, seconds=0.01) is None
    assert found.latency.p50_ms > found.compute.p50_ms > 0
    assert found.two_in_flight_faces_per_second > 0


def test_the_bench_shows_them(monkeypatch, tmp_path):
    tiny_artifact(tmp_path / "build", "fp32")
    monkeypatch.setattr("fer_edge.bench.suite.open_engine", lambda *_, **__: on_gpu())
    monkeypatch.setattr("fer_edge.bench.suite.measure_peak_memory", lambda *_, **__: None)
    result = run_bench(tmp_path / "build", batches=[1, 64], precisions=["fp32"], seconds=0.1)
    told = [row.on_gpu is not None for row in result.precisions[0].latency]
    assert told == [True, False]
    console = Console(width=80, record=True)
    console.print(render(result))
    text = console.export_text()
    assert "On the GPU in ms, p50 / p99" in text
    assert "1.00 / 1.00" in text
    assert "4.00 / 4.00" in text
