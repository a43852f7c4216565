"""How fast each precision of an artifact runs on this machine: measured, recorded, remembered."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_edge.contract import PRECISIONS, Contract, Precision
from fer_edge.engines.base import Engine, Faces
from fer_edge.engines.processor import available_cores, describe_processor, instruction_sets
from fer_edge.files import cache_folder, without_cache, write_text

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact, SpeedRecord

BATCHES = (1, 8)
"""A face in front of a camera, and a room full of them."""
TIE = 0.05
"""Less than this share of time is no reason to give up the precision that comes first."""
_LEAST_ROUNDS = 5


def machine_name(device: str | None = None) -> str:
    """What speed depends on: the processor with its instruction sets and cores, or the GPU."""
    name = describe_processor()[0]
    cores = available_cores()
    sets = ", ".join(instruction_sets()) or "no vector extensions known"
    processor = f"{name}, {cores} core{'' if cores == 1 else 's'} ({sets})"
    return processor if device in (None, name) else f"{device}, {processor}"


def measure_speed(
    open_one: Callable[[Precision], Engine],
    precisions: Sequence[Precision],
    *,
    seconds: float,
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> SpeedRecord:
    """Time precisions in turn (A B C A B C ...), so that other work slows all alike.

    Parameters
    ----------
    open_one : callable
        Opens the engine of a precision.
    precisions : sequence of str
        At least one.
    seconds : float
        For all precisions together at each of :data:`BATCHES`; five rounds at least.
    threads : int, optional
        What the engines were opened with.

    Raises
    ------
    FerEdgeError
        An engine cannot be opened or run.
    """
    from fer_edge.artifact import SpeedRecord

    medians: dict[Precision, dict[int, float]] = {precision: {} for precision in precisions}
    with ExitStack() as stack:
        engines = {p: stack.enter_context(open_one(p)) for p in precisions}
        infos = [engine.describe() for engine in engines.values()]
        contracts = {p: engine.describe().contract for p, engine in engines.items()}
        for turn in range(len(BATCHES)):
            sizes = {p: _sizes(engine)[turn:][:1] for p, engine in engines.items()}
            faces = {p: _faces(contracts[p], n) for p, own in sizes.items() for n in own}
            times = _in_turn(engines, faces, seconds)
            for precision, own in times.items():
                medians[precision][len(faces[precision])] = float(np.median(own)) * 1e3
            if progress is not None:
                progress((turn + 1) / len(BATCHES))
    return SpeedRecord(
        machine=machine_name(infos[0].device),
        backend=infos[0].backend,
        backend_version=infos[0].backend_version,
        threads=threads,
        ms=medians,
        integers=next((info.integers for info in infos if info.integers), None),
    )


def _sizes(engine: Engine) -> list[int]:
    """Those of :data:`BATCHES` that an engine takes; the one that it is fixed to if none."""
    info = engine.describe()
    taken = [n for n in BATCHES if info.min_batch <= n <= (info.max_batch or n)]
    return taken or [info.min_batch]


def _faces(contract: Contract, batch: int) -> Faces:
    shape = (batch, *contract.face_shape)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _in_turn(
    engines: Mapping[Precision, Engine], faces: Mapping[Precision, Faces], seconds: float
) -> dict[Precision, list[float]]:
    """Seconds of each call; those that have no faces are left out."""
    times: dict[Precision, list[float]] = {precision: [] for precision in faces}
    for precision, batch in faces.items():
        engines[precision].run(batch)  # warms caches and allocators up
    started = time.perf_counter()
    rounds = 0
    while rounds < _LEAST_ROUNDS or time.perf_counter() - started < seconds:
        for precision, batch in faces.items():
            start = time.perf_counter()
            engines[precision].run(batch)
            times[precision].append(time.perf_counter() - start)
        rounds += 1
    return times


def fastest(record: SpeedRecord, order: Sequence[Precision]) -> Precision:
    """The fastest of ``order``; of precisions within :data:`TIE` the one that comes first."""
    costs = {precision: cost(record.ms[precision]) for precision in order}
    least = min(costs.values())
    return next(precision for precision in order if costs[precision] <= least * (1 + TIE))


def cost(ms: dict[int, float]) -> float:
    """Milliseconds a face: the geometric mean over the batch sizes."""
    return math.exp(sum(math.log(value / batch) for batch, value in ms.items()) / len(ms))


def summary(record: SpeedRecord, order: Sequence[Precision]) -> str:
    """``int8 0.31 ms a face, fp32 0.90``: what the precisions cost, the fastest first."""
    costs = {precision: cost(record.ms[precision]) for precision in order}
    ranked = sorted(costs.items(), key=lambda item: item[1])
    first, *others = [f"{precision} {value:.2g}" for precision, value in ranked]
    return ", ".join([f"{first} ms a face", *others])


def recorded_speed(
    artifact: Artifact,
    order: Sequence[Precision],
    *,
    backend: str,
    backend_version: str,
    threads: int | None,
    device: str | None = None,
) -> SpeedRecord | None:
    """What is known of these precisions on this machine: from this user's cache, else from the
    manifest; None if nothing is."""
    here = (machine_name(device), backend, backend_version, threads)
    remembered = _remembered(_key(artifact, *here))
    for record in (*([remembered] if remembered else []), *artifact.manifest.speeds):
        if _circumstances(record) == here and set(order) <= set(record.ms):
            return record
    return None


def remember_speed(artifact: Artifact, record: SpeedRecord) -> Path | None:
    """Keep a measurement for this user; None where the cache cannot be written, which leaves it
    to this process."""
    key = _key(artifact, *_circumstances(record))
    _in_process[key] = record
    path, kept = _path(key), False
    with without_cache():
        write_text(path, record.model_dump_json(indent=2) + "\n")
        kept = True
    return path if kept else None


_in_process: dict[str, SpeedRecord] = {}


def _remembered(key: str) -> SpeedRecord | None:
    from fer_edge.artifact import SpeedRecord

    with suppress(OSError, ValueError):
        return SpeedRecord.model_validate_json(_path(key).read_bytes())
    return _in_process.get(key)


def _circumstances(record: SpeedRecord) -> tuple[str, str, str, int | None]:
    return record.machine, record.backend, record.backend_version, record.threads


def _path(key: str) -> Path:
    return cache_folder() / "speed" / f"{key}.json"


def _key(artifact: Artifact, *circumstances: str | int | None) -> str:
    """Of what runs, not of the folder: a copy of an artifact is as fast as the artifact."""
    digest = hashlib.sha256(repr(circumstances).encode())
    manifest = artifact.manifest
    graphs = [manifest.graphs[one] for one in PRECISIONS if one in manifest.graphs]
    files = [file for graph in graphs for file in (graph.file, graph.cpu_file) if file]
    for file in (*files, *sorted(engine.file for engine in manifest.engines)):
        digest.update(manifest.files[file].sha256.encode())
    return digest.hexdigest()[:32]
