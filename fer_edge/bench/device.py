"""Where the time of a batch goes on a GPU, as trtexec names the parts."""

import time

import numpy as np
import pydantic

from fer_edge.bench.latency import WARM_UP_S, random_faces
from fer_edge.engines.base import DeviceEngine, DeviceTimes, Engine, Faces

_AT_ONCE = 16
"""Batches that are handed over at once where two are in flight."""
_LEAST = 20


class Spread(pydantic.BaseModel):
    """Of one part over all repeats."""

    p50_ms: float
    p99_ms: float


class DeviceLatency(pydantic.BaseModel):
    """Parts of one batch on a GPU, by CUDA events, and its rate with two batches in flight.

    https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/best-practices.html
    """

    repeats: int
    host_to_device: Spread
    """H2D Latency."""
    compute: Spread
    """GPU Compute Time."""
    device_to_host: Spread
    """D2H Latency."""
    latency: Spread
    """The three together."""
    enqueue: Spread
    """Enqueue Time: on the host, of the call that starts the computation. Above the compute time,
    the host is what limits."""
    two_in_flight_faces_per_second: float
    """While one batch is copied, another is computed."""


def measure_device(engine: Engine, batch: int, *, seconds: float = 0.5) -> DeviceLatency | None:
    """Take a batch apart; None where the engine does not tell, or takes it in several.

    ``seconds`` are timed twice, for the parts and for two batches in flight, after untimed calls.
    """
    if not isinstance(engine, DeviceEngine) or batch > max(engine.describe().buckets, default=0):
        return None
    faces = random_faces(batch, engine.describe().contract)
    _parts(engine, faces, WARM_UP_S, 1)
    parts = _parts(engine, faces, seconds, _LEAST)
    _rate(engine, faces, WARM_UP_S)
    compute = [one.compute_ms for one in parts]
    up = [one.host_to_device_ms for one in parts]
    down = [one.device_to_host_ms for one in parts]
    return DeviceLatency(
        repeats=len(parts),
        host_to_device=_spread(up),
        compute=_spread(compute),
        device_to_host=_spread(down),
        latency=_spread([sum(one) for one in zip(up, compute, down, strict=True)]),
        enqueue=_spread([one.enqueue_ms for one in parts]),
        two_in_flight_faces_per_second=_rate(engine, faces, seconds),
    )


def _parts(engine: DeviceEngine, faces: Faces, seconds: float, least: int) -> list[DeviceTimes]:
    found: list[DeviceTimes] = []
    end = time.perf_counter() + seconds
    while len(found) < least or time.perf_counter() < end:
        found.append(engine.run_timed(faces)[1])
    return found


def _rate(engine: DeviceEngine, faces: Faces, seconds: float) -> float:
    done = 0
    start = now = time.perf_counter()
    while not done or now - start < seconds:
        engine.run_many([faces] * _AT_ONCE)
        done += _AT_ONCE * len(faces)
        now = time.perf_counter()
    return done / (now - start)


def _spread(ms: list[float]) -> Spread:
    p50, p99 = np.percentile(ms, [50, 99])
    return Spread(p50_ms=float(p50), p99_ms=float(p99))
