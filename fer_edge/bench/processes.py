"""The bench in several processes: what one process got by chance, another has not."""

import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np

from fer_edge.bench.percentiles import mean_interval
from fer_edge.bench.suite import BenchResult
from fer_edge.child_python import child_environment
from fer_edge.errors import InferenceError


def in_processes(
    arguments: Sequence[str], n: int, progress: Callable[[int, int], None] | None = None
) -> list[BenchResult]:
    """Run ``fer-edge bench ARGUMENTS --json`` ``n`` times, one after the other.

    Memory layout, threads' places and caches are drawn anew in each process, and differ more from
    process to process than from call to call (Kalibera and Jones 2013, "Rigorous benchmarking in
    reasonable time", doi:10.1145/2464157.2464160).

    Raises
    ------
    InferenceError
        A process failed; its message is told.
    """
    results = []
    for done in range(n):
        command = [sys.executable, "-m", "fer_edge", "bench", *arguments, "--json"]
        run = subprocess.run(
            command, capture_output=True, text=True, check=False, env=child_environment()
        )
        if run.returncode:
            lines = run.stderr.strip().splitlines() or [f"exit status {run.returncode}"]
            raise InferenceError(f"A process of the bench failed: {lines[-1]}")
        results.append(BenchResult.model_validate_json(run.stdout))
        if progress is not None:
            progress(done + 1, n)
    return results


def with_processes(first: BenchResult, others: Sequence[BenchResult]) -> BenchResult:
    """``first`` with the times of all: each the median of the processes', and the interval of the
    median over processes."""
    merged = first.model_copy(deep=True)
    for place, row in enumerate(merged.precisions):
        for at, latency in enumerate(row.latency):
            all_ = [r.precisions[place].latency[at] for r in (first, *others)]
            medians = [one.p50_ms for one in all_]
            latency.repeats = sum(one.repeats for one in all_)
            latency.p50_ms = float(np.median(medians))
            latency.p90_ms = _median([one.p90_ms for one in all_])
            latency.p99_ms = _median([one.p99_ms for one in all_])
            latency.mean_ms = float(np.median([one.mean_ms for one in all_]))
            latency.faces_per_second = 1e3 * latency.batch / latency.mean_ms
            latency.p50_interval_ms = mean_interval(medians)
    merged.processes = 1 + len(others)
    _recompute_speedups(merged)
    return merged


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if len(known) == len(values) else None


def _recompute_speedups(result: BenchResult) -> None:
    base = result.precisions[0]
    for row in result.precisions:
        for latency, fp32 in zip(row.latency, base.latency, strict=True):
            if latency.speedup_vs_fp32 is not None:
                latency.speedup_vs_fp32 = latency.faces_per_second / fp32.faces_per_second
