"""How a model serves: the scenarios of MLPerf Inference, for one engine.

Reddi et al. 2020, "MLPerf Inference Benchmark", arXiv:1911.02549, Table 4. Names, units and
percentiles are theirs; rules of submission, accuracy targets and run lengths of minutes are not.
"""

import time
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import pydantic

from fer_edge.bench.energy import EnergyMeter
from fer_edge.bench.latency import WARM_UP_S, random_faces, timed_calls, undisturbed
from fer_edge.bench.percentiles import enough_for, percentile_interval
from fer_edge.engines import Engine
from fer_edge.engines.base import Faces
from fer_edge.errors import UsageError

Scenario = Literal["single-stream", "multi-stream", "server", "offline"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
QUERIES = 1024
"""Fewest queries of a run (SingleStream's of MLPerf), and fewest faces of offline. There
offline is one query of 24,576 samples, which would take a small board many minutes."""
MULTI_STREAM = 8
"""Faces of a query of multi-stream."""
SERVER_BOUND_MS = 15.0
"""What the p99 of server has to keep: MLPerf's bound for image classification."""
OFFLINE_BATCH = 64
_SEARCH = 7
"""Rates that server tries."""
_LOWEST = 16
"""Below this part of the offline rate no rate is tried."""
_WINDOWS = 10


class ScenarioResult(pydantic.BaseModel):
    """What one scenario measured."""

    scenario: Scenario
    queries: int
    faces_per_query: int
    seconds: float
    faces_per_second: float
    percentile: int | None = None
    """90 or 99; None for offline, whose measure is the rate."""
    latency_ms: float | None = None
    """That percentile of the time from a query's arrival to its answer; None, too, where server
    was given up because more than one query in a hundred came too late."""
    interval_ms: tuple[float, float] | None = None
    """Of 95 %, as :func:`fer_edge.bench.percentiles.percentile_interval` has it."""
    bound_ms: float | None = None
    """What the percentile had to keep, for server."""
    slowdown: float
    """How much longer a face takes in the last tenth of the run than in the first, -1..: heat and
    clocks show here."""
    joules_per_face: float | None = None
    """Of the processor's package, where the machine tells."""
    met: bool = True
    """For server: whether any rate that was tried keeps the bound."""


def run_scenario(
    engine: Engine,
    scenario: Scenario,
    *,
    seconds: float = 10.0,
    bound_ms: float = SERVER_BOUND_MS,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> ScenarioResult:
    """Run one scenario on one engine.

    ``single-stream``
        One face a query, the next when the last is answered: p90.
    ``multi-stream``
        Eight faces a query, the next when the last is answered: p99.
    ``server``
        One face a query, arriving at random (Poisson) whether or not the last is answered; what
        waits is answered in one batch. The highest rate whose p99 stays within ``bound_ms``.
    ``offline``
        All faces are there from the start: the rate of at least 1,024, in batches of 64.

    Parameters
    ----------
    engine : Engine
    scenario
    seconds : float
        Least time of a run; it goes on until there are enough queries, or faces.
    bound_ms : float
        For server.
    seed : int
        Of the arrivals.
    progress : callable, optional
        Called with the part done, 0..1.

    Raises
    ------
    UsageError
        The engine does not take the batch.
    InferenceError
        The engine failed.
    """
    tell = progress or (lambda _share: None)
    if scenario == "server":
        return _server(engine, seconds, bound_ms, seed, tell)
    batch = {"single-stream": 1, "multi-stream": MULTI_STREAM}.get(scenario, OFFLINE_BATCH)
    info = engine.describe()
    if scenario == "offline" and info.max_batch is not None:
        batch = min(batch, info.max_batch)
    if not info.min_batch <= batch <= (info.max_batch or batch):
        raise UsageError(
            f"{scenario} asks {batch} faces at a time, and the {info.precision} {info.backend} "
            f"engine takes {info.min_batch} to {info.max_batch}.",
            hint="Build an engine for it with: fer-edge export --batch 1,8,64",
        )
    share = {"single-stream": 0.9, "multi-stream": 0.99}.get(scenario)
    least = max(QUERIES, enough_for(share)) if share is not None else -(-QUERIES // batch)
    faces = random_faces(batch, info.contract)
    timed_calls(engine, faces, WARM_UP_S, 1)
    with EnergyMeter() as meter, undisturbed():
        times = _until(engine, faces, seconds, least, tell)
    total = float(times.sum())
    ms = 1e3 * times
    return ScenarioResult(
        scenario=scenario,
        queries=len(times),
        faces_per_query=batch,
        seconds=total,
        faces_per_second=batch * len(times) / total,
        percentile=None if share is None else round(100 * share),
        latency_ms=None if share is None else float(np.quantile(ms, share)),
        interval_ms=None if share is None else percentile_interval(ms, share),
        slowdown=_slowdown(times),
        joules_per_face=None if meter.joules is None else meter.joules / (batch * len(times)),
    )


def _until(
    engine: Engine, faces: Faces, seconds: float, least: int, tell: Callable[[float], None]
) -> np.ndarray:
    """Seconds of each call, one after the other."""
    times: list[float] = []
    clock = time.perf_counter
    begin = start = clock()
    told = 0.0
    while len(times) < least or start - begin < seconds:
        engine.run(faces)
        end = clock()
        times.append(end - start)
        start = end
        if end - told > 0.5:
            told = end
            tell(min((end - begin) / max(seconds, 1e-9), len(times) / least, 1.0))
    tell(1.0)
    return np.array(times)


def _slowdown(times: np.ndarray) -> float:
    windows = np.array_split(times, min(_WINDOWS, len(times)))
    return float(np.median(windows[-1]) / np.median(windows[0]) - 1)


def _server(
    engine: Engine, seconds: float, bound_ms: float, seed: int, tell: Callable[[float], None]
) -> ScenarioResult:
    """The highest rate of arrivals whose p99 keeps the bound, by halving what is left."""
    info = engine.describe()
    most = min(info.max_batch or OFFLINE_BATCH, OFFLINE_BATCH)
    pool = random_faces(most, info.contract)
    # The smallest batch that it takes, and the largest.
    for size in {max(info.min_batch, 1), most}:
        timed_calls(engine, pool[:size], WARM_UP_S, 1)
    offline = timed_calls(engine, pool, 0.2, 3)
    high = 1e9 * most / float(np.median(offline))
    low = high / _LOWEST
    best: ScenarioResult | None = None
    worst: ScenarioResult | None = None
    for step in range(_SEARCH):
        rate = low if step == 0 else (low + high) / 2
        found = _serve(engine, pool, rate, seconds / _SEARCH, bound_ms, seed + step)
        tell((step + 1) / _SEARCH)
        if found.met:
            best, low = found, rate
        else:
            worst, high = found, rate
            if step == 0:
                break
    tell(1.0)
    result = best or worst
    assert result is not None
    return result


def _serve(
    engine: Engine, pool: Faces, rate: float, seconds: float, bound_ms: float, seed: int
) -> ScenarioResult:
    """Answer queries that arrive at ``rate`` a second, what waits together."""
    least = max(QUERIES, enough_for(0.99))
    n = max(least, round(rate * seconds))
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))
    done = np.full(n, np.inf)
    calls: list[float] = []
    late = 0
    smallest = max(engine.describe().min_batch, 1)
    next_query = 0
    with EnergyMeter() as meter, undisturbed():
        begin = time.perf_counter()
        while next_query < n:
            now = time.perf_counter() - begin
            if arrivals[next_query] > now:
                # Sleeping overshoots by some 0.1 ms, which would count as the engine's time.
                pause = arrivals[next_query] - now - 2e-4
                if pause > 0:
                    time.sleep(pause)
                continue
            waiting = int(np.searchsorted(arrivals, now, side="right")) - next_query
            batch = min(waiting, len(pool))
            engine.run(pool[: max(batch, smallest)])
            end = time.perf_counter() - begin
            done[next_query : next_query + batch] = end
            calls.append((end - now) / batch)
            late += int((end - arrivals[next_query : next_query + batch] > bound_ms / 1e3).sum())
            next_query += batch
            if late > 0.01 * n:
                break
    ms = 1e3 * (done - arrivals)
    met = late <= 0.01 * n
    latency = float(np.quantile(ms, 0.99)) if met else None
    return ScenarioResult(
        scenario="server",
        queries=n,
        faces_per_query=1,
        seconds=float(arrivals[next_query - 1]),
        faces_per_second=rate,
        percentile=99,
        latency_ms=latency,
        interval_ms=percentile_interval(ms, 0.99) if met else None,
        bound_ms=bound_ms,
        slowdown=_slowdown(np.array(calls)),
        joules_per_face=None if meter.joules is None else meter.joules / next_query,
        met=met,
    )
