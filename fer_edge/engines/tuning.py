"""Time what an artifact can run with a backend on this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fer_edge.contract import PRECISIONS, Precision
from fer_edge.engines.base import Engine
from fer_edge.engines.device_name import AUTO, CPU, runs_on_gpu
from fer_edge.engines.selection import open_engine
from fer_edge.engines.speed import measure_speed
from fer_edge.engines.tensorrt import TENSORRT_BACKENDS
from fer_edge.errors import BackendUnavailableError

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact, SpeedRecord


@dataclass(frozen=True)
class Tuning:
    """What was timed, and what could not be."""

    record: SpeedRecord
    left_out: dict[Precision, str]
    """Precisions that cannot run here with this backend, and why."""


def tune(
    artifact: Artifact,
    *,
    backend: str,
    threads: int | None = None,
    device: str = AUTO,
    seconds: float = 1.0,
    progress: Callable[[float], None] | None = None,
) -> Tuning:
    """Time every precision that ``backend`` can run here, in turn.

    Parameters
    ----------
    artifact : Artifact
    backend : str
        One of :data:`fer_edge.engines.BACKENDS`.
    threads, device
        As in :func:`fer_edge.engines.open_engine`.
    seconds : float
        At each batch size, for all precisions together.
    progress : callable, optional
        Called with the part done, 0..1.

    Raises
    ------
    BackendUnavailableError
        Nothing of the artifact runs here with this backend.
    FerEdgeError
        The artifact is damaged, or an engine fails.
    """
    refusals: dict[Precision, BackendUnavailableError] = {}
    usable = []
    for precision in _precisions(artifact, backend):
        refusal = _refusal(artifact, precision, backend, threads, device)
        if refusal is None:
            usable.append(precision)
        else:
            refusals[precision] = refusal
    if not usable:
        raise next(iter(refusals.values()), None) or BackendUnavailableError(
            f"{artifact.folder} has nothing that {backend} runs.",
            hint="See what it has with: fer-edge info",
        )
    record = measure_speed(
        lambda precision: _open(artifact, precision, backend, threads, device),
        usable,
        seconds=seconds,
        threads=None if runs_on_gpu(backend) else threads,
        progress=progress,
    )
    return Tuning(record, {precision: error.message for precision, error in refusals.items()})


def time_all(
    artifact: Artifact,
    *,
    seconds: float,
    device: str = AUTO,
    progress: Callable[[str, float], None],
) -> list[SpeedRecord]:
    """Time the graphs on this machine's CPU, and the engines that it can run.

    ``progress`` is called with a backend's stage and how much of it is done, 0..1; the rest is as
    for :func:`tune`.
    """
    records = []
    for backend in dict.fromkeys(
        ["onnxruntime-cpu", *(e.backend for e in artifact.manifest.engines)]
    ):
        stage = f"Speed on {backend}"
        # TensorRT-RTX builds without a GPU, and what cannot run here is timed where it can.
        with suppress(BackendUnavailableError):
            timed = tune(
                artifact,
                backend=backend,
                device=device if runs_on_gpu(backend) else CPU,
                seconds=seconds,
                progress=partial(progress, stage),
            )
            records.append(timed.record)
        progress(stage, 1)
    return records


def _refusal(
    artifact: Artifact, precision: Precision, backend: str, threads: int | None, device: str
) -> BackendUnavailableError | None:
    try:
        _open(artifact, precision, backend, threads, device).close()
    except BackendUnavailableError as error:
        return error
    return None


def _open(
    artifact: Artifact, precision: Precision, backend: str, threads: int | None, device: str
) -> Engine:
    return open_engine(
        artifact, precision=precision, backend=backend, threads=threads, device=device
    )


def _precisions(artifact: Artifact, backend: str) -> list[Precision]:
    if backend in TENSORRT_BACKENDS:
        have = {record.precision for record in artifact.manifest.engines}
        return [precision for precision in PRECISIONS if precision in have]
    # ONNX Runtime and OpenVINO convert FP8 value by value, and compute in float32.
    return [p for p in PRECISIONS if p in artifact.manifest.graphs and p != "fp8"]
