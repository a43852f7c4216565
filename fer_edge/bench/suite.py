"""Measure every precision of an artifact in one run."""

import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import pydantic

from fer_edge.artifact import Artifact, Score
from fer_edge.bench.device import DeviceLatency, measure_device
from fer_edge.bench.latency import Latency, measure_latencies
from fer_edge.bench.machine import Machine, describe_machine
from fer_edge.bench.memory import measure_peak_memory
from fer_edge.bench.scenarios import SERVER_BOUND_MS, Scenario, ScenarioResult, run_scenario
from fer_edge.contract import EMOTIONS, PRECISIONS, Precision
from fer_edge.data import FaceDataset
from fer_edge.engines import open_engine
from fer_edge.engines.serialised import build_command
from fer_edge.engines.tensorrt import TENSORRT_BACKENDS
from fer_edge.errors import UsageError
from fer_edge.evaluation import score
from fer_edge.files import shown

Progress = Callable[[str, float], None]
"""Called with what is being measured and how much of it is done, 0..1."""


class LatencyRow(Latency):
    """Latency at one batch size, beside that of fp32 on the same backend in the same run."""

    speedup_vs_fp32: float | None
    """Ratio of faces per second; None where fp32 was not measured on the same backend."""
    on_gpu: DeviceLatency | None = None
    """Its parts, where the engine tells them."""


class PrecisionResult(pydantic.BaseModel):
    """What one precision of the artifact costs and gives."""

    precision: Precision
    backend: str
    backend_version: str
    inference_precision: str | None = None
    """As in :class:`fer_edge.engines.EngineInfo`."""
    integers: str | None = None
    """As in :class:`fer_edge.engines.EngineInfo`."""
    device: str
    file: str
    """What the backend loads, relative to the artifact."""
    size_bytes: int
    """Of it, and of the files that it has weights in."""
    peak_memory_mib: float | None
    """As :func:`fer_edge.bench.memory.measure_peak_memory` has it, at the largest batch."""
    latency: list[LatencyRow]
    score: Score | None
    """Measured in this run; None without data."""
    recorded_score: Score | None
    """What the manifest says."""
    passed_over: tuple[str, ...] = ()
    """As in :class:`fer_edge.engines.EngineInfo`."""
    scenarios: list[ScenarioResult] = []


class BenchResult(pydantic.BaseModel):
    """One run of the bench. ``model_dump(mode="json")`` makes it JSON."""

    model: str
    artifact: str
    created: str
    """UTC, ISO 8601."""
    command: str
    threads: int | None
    processes: int = 1
    """How many the times are of."""
    machine: Machine
    labels: tuple[str, ...] = EMOTIONS
    """Of the model."""
    precisions: list[PrecisionResult]
    left_out: dict[Precision, str] = {}
    """Precisions of the artifact that the backend which was named has no engine of, and the command
    that builds one."""


def run_bench(
    model: Path,
    *,
    data: FaceDataset | None = None,
    batches: Iterable[int] = (1, 8, 64),
    precisions: Iterable[Precision] | None = None,
    backend: str = "auto",
    threads: int | None = None,
    device: str = "auto",
    seconds: float = 2.0,
    scenarios: Iterable[Scenario] = (),
    bound_ms: float = SERVER_BOUND_MS,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure latency, memory and, with data, accuracy.

    Parameters
    ----------
    model : Path
        Artifact folder.
    data : FaceDataset, optional
        Faces to score on, read for the artifact's contract. Agreement and McNemar's p compare with
        fp32 when it is among ``precisions``.
    batches : ints
        Batch sizes for latency.
    precisions : optional
        By default all that the artifact has; of a TensorRT backend, all that it has engines of.
    backend, threads, device
        As in :func:`fer_edge.engines.open_engine`.
    seconds : float
        Timed seconds for each precision and batch size, and for each scenario.
    scenarios, bound_ms
        As in :func:`fer_edge.bench.scenarios.run_scenario`.

    Raises
    ------
    UsageError
        No batch size, or one that an engine does not take.
    ArtifactError
        The folder is not an artifact, is damaged, or lacks a precision.
    EngineError
        A precision cannot be loaded or run.
    """
    tell = progress or (lambda _stage, _done: None)
    sizes = sorted(set(batches))
    if not sizes or sizes[0] < 1:
        raise UsageError("Batch sizes must be 1 or more.", hint="For example: --batch 1,8,64")
    artifact = Artifact.load(model)
    order, left_out = _precisions(artifact, precisions, backend)
    if not order:
        raise UsageError(f"{model} has no graph to measure.", hint="Export the model again.")

    with ExitStack() as stack:
        engines = [
            stack.enter_context(
                open_engine(
                    artifact, precision=precision, backend=backend, threads=threads, device=device
                )
            )
            for precision in order
        ]
        infos = [engine.describe() for engine in engines]
        rows: list[list[LatencyRow]] = [[] for _ in order]
        for size in sizes:
            stage = f"Latency at batch {size}"
            measured = measure_latencies(
                engines, size, seconds=seconds, progress=partial(tell, stage)
            )
            for own, latency, info in zip(rows, measured, infos, strict=True):
                # A ratio between backends would tell of the machine, not of the precision.
                comparable = order[0] == "fp32" and info.backend == infos[0].backend
                base = measured[0].faces_per_second if comparable else None
                own.append(
                    LatencyRow(
                        **latency.model_dump(),
                        speedup_vs_fp32=latency.faces_per_second / base if base else None,
                    )
                )
            for own, engine in zip(rows, engines, strict=True):
                own[-1].on_gpu = measure_device(engine, size, seconds=seconds / 4)
        served: list[list[ScenarioResult]] = [[] for _ in order]
        for scenario in scenarios:
            for precision, engine, own_results in zip(order, engines, served, strict=True):
                stage = f"{scenario} of {precision}"
                own_results.append(
                    run_scenario(
                        engine,
                        scenario,
                        seconds=seconds,
                        bound_ms=bound_ms,
                        progress=partial(tell, stage),
                    )
                )
        scores: list[Score | None] = [None] * len(order)
        reference = None
        if data is not None:
            for index, (precision, engine) in enumerate(zip(order, engines, strict=True)):
                stage = f"Accuracy of {precision}"
                scores[index], probabilities = score(
                    engine,
                    data,
                    reference=reference,
                    progress=_shares(tell, stage),
                )
                if precision == "fp32":
                    reference = probabilities

    results = []
    measured_rows = zip(order, infos, rows, scores, served, strict=True)
    for precision, info, latency_rows, own_score, own_scenarios in measured_rows:
        tell(f"Memory of {precision}", 0.0)
        peak = measure_peak_memory(
            model,
            precision=precision,
            backend=info.backend,
            threads=threads,
            batch=sizes[-1],
            device=device,
        )
        tell(f"Memory of {precision}", 1.0)
        file = info.file or artifact.graph(precision).file
        results.append(
            PrecisionResult(
                precision=precision,
                backend=info.backend,
                backend_version=info.backend_version,
                inference_precision=info.inference_precision,
                integers=info.integers,
                device=info.device,
                file=file,
                size_bytes=artifact.size(file),
                peak_memory_mib=peak,
                latency=latency_rows,
                score=own_score,
                recorded_score=artifact.manifest.scores.get(precision),
                passed_over=info.passed_over,
                scenarios=own_scenarios,
            )
        )
    return BenchResult(
        model=artifact.manifest.model,
        artifact=shown(str(model)),
        created=datetime.now(timezone.utc).isoformat("T", "seconds"),
        command=shown(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        threads=threads,
        machine=describe_machine(),
        labels=artifact.manifest.labels,
        precisions=results,
        left_out=left_out,
    )


def _shares(tell: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, n: tell(stage, done / n)


def _precisions(
    artifact: Artifact, asked: Iterable[Precision] | None, backend: str
) -> tuple[Sequence[Precision], dict[Precision, str]]:
    """What to measure, and what the artifact has that ``backend`` cannot run."""
    wanted = set(artifact.manifest.graphs if asked is None else asked)
    for precision in wanted:
        artifact.graph(precision)
    order = [precision for precision in PRECISIONS if precision in wanted]
    if asked is not None or backend not in TENSORRT_BACKENDS:
        return order, {}
    have = {one.precision for one in artifact.manifest.engines if one.backend == backend}
    if not have:
        # Opening the first will say so.
        return order, {}
    left_out = {
        precision: build_command(artifact, precision, backend)
        for precision in order
        if precision not in have
    }
    return [precision for precision in order if precision in have], left_out
