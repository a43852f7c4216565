"""How long an engine takes for a batch."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pydantic

from fer_edge.bench.percentiles import mean_interval, percentile
from fer_edge.contract import FER2013, Contract
from fer_edge.engines import Engine
from fer_edge.engines.base import Faces
from fer_edge.errors import UsageError

_ROUNDS = 8
WARM_UP_S = 0.1
"""Untimed before every turn: covers allocation, and caches and clocks that the turn before left to
another engine."""


class Latency(pydantic.BaseModel):
    """Time of one call, from faces in host memory to probabilities in host memory."""

    batch: int
    repeats: int
    mean_ms: float
    p50_ms: float
    p50_interval_ms: tuple[float, float] | None = None
    """Of 95 %, over the turns of one process, or over processes."""
    p90_ms: float | None
    """None, as the next, of fewer repeats than :func:`fer_edge.bench.percentiles.percentile` asks
    for."""
    p99_ms: float | None
    faces_per_second: float
    """Faces of all repeats over the time of all repeats."""


def measure_latency(
    engine: Engine,
    batch: int,
    *,
    seconds: float = 2.0,
    min_repeats: int = 20,
    faces: Faces | None = None,
) -> Latency:
    """Time one engine; see :func:`measure_latencies`."""
    return measure_latencies(
        [engine], batch, seconds=seconds, min_repeats=min_repeats, faces=faces
    )[0]


def measure_latencies(
    engines: Sequence[Engine],
    batch: int,
    *,
    seconds: float = 2.0,
    min_repeats: int = 20,
    faces: Faces | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Latency]:
    """Time engines against each other.

    The engines take turns (A B C A B C ...), an eighth of their time each, so that a clock that
    drifts or a neighbour's load meets all of them alike and their ratios stay fair. Each turn
    starts with untimed calls. Garbage collection is off while the clock runs.

    Parameters
    ----------
    batch : int
        Faces in a call.
    seconds : float
        Timed seconds for each engine.
    min_repeats : int
        Timed calls for each engine, even where they take longer than ``seconds``.
    faces : uint8 array, shape (batch, channels, size, size), optional
        By default random pixels, the same in every run. Speed depends on shapes, not on content.
    progress : callable, optional
        Called with the part done, 0..1.

    Raises
    ------
    UsageError
        ``batch`` below 1 or outside what an engine takes.
    """
    for engine in engines:
        info = engine.describe()
        if batch < max(1, info.min_batch) or batch > (info.max_batch or batch):
            raise UsageError(
                f"The {info.precision} {info.backend} engine takes "
                f"{info.min_batch} to {info.max_batch or 'any number of'} faces a call, "
                f"not {batch}.",
                hint="Choose other batch sizes, or build an engine for this one.",
            )
    if faces is None:
        faces = random_faces(batch, engines[0].describe().contract)
    times: list[list[list[int]]] = [[] for _ in engines]
    turn_calls = -(-min_repeats // _ROUNDS)
    for turn in range(_ROUNDS):
        for index, (engine, own) in enumerate(zip(engines, times, strict=True)):
            timed_calls(engine, faces, WARM_UP_S, 1)
            own.append(timed_calls(engine, faces, seconds / _ROUNDS, turn_calls))
            if progress is not None:
                progress((turn + (index + 1) / len(engines)) / _ROUNDS)
    return [_summary(batch, own) for own in times]


def random_faces(batch: int, contract: Contract = FER2013) -> Faces:
    """Random pixels, uint8 (batch, channels, size, size), the same in every run."""
    shape = (batch, *contract.face_shape)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without garbage collection."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def timed_calls(engine: Engine, faces: Faces, seconds: float, least: int) -> list[int]:
    """Nanoseconds of each call, for ``seconds`` and at least ``least`` calls."""
    times: list[int] = []
    clock = time.perf_counter_ns
    with undisturbed():
        end = clock() + int(seconds * 1e9)
        while len(times) < least or clock() < end:
            start = clock()
            engine.run(faces)
            times.append(clock() - start)
    return times


def _summary(batch: int, turns: list[list[int]]) -> Latency:
    ms = np.concatenate(turns) / 1e6
    return Latency(
        batch=batch,
        repeats=len(ms),
        mean_ms=float(ms.mean()),
        p50_ms=float(np.median(ms)),
        p50_interval_ms=mean_interval([float(np.median(turn)) / 1e6 for turn in turns]),
        p90_ms=percentile(ms, 0.9),
        p99_ms=percentile(ms, 0.99),
        faces_per_second=float(batch * 1e3 / ms.mean()),
    )
