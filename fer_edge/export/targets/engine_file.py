"""A TensorRT engine as a file of an artifact."""

from collections.abc import Callable
from pathlib import Path

import onnx

from fer_edge.artifact import ENGINES, EngineRecord
from fer_edge.engines.built_for import built_for
from fer_edge.engines.cuda import describe_gpu
from fer_edge.engines.tensorrt import build_engine, module_version
from fer_edge.export.targets.engine_plan import BatchRange, Planned
from fer_edge.files import cache_folder


def write_engine(
    folder: Path,
    graph: onnx.ModelProto,
    planned: Planned,
    *,
    size: str | None = None,
    batch: BatchRange,
    workspace_mib: int,
    ordinal: int,
    progress: Callable[[str, float], None],
) -> tuple[EngineRecord, bytes]:
    """Build an engine and write it where an artifact has its engines.

    Parameters
    ----------
    folder : Path
        The artifact's.
    graph : onnx.ModelProto
        As the builder takes it: what is no integer is of the type that it shall compute in.
    planned : (backend, precision)
    size : str, optional
        Of the frames, for a detector: a part of the file's name.
    batch, workspace_mib, ordinal
        As :func:`fer_edge.engines.tensorrt.build_engine` takes them.
    progress : callable(stage, done)
        ``done`` is 0..1.

    Returns
    -------
    EngineRecord
        Of the file; what is kept wider than its precision only the caller knows.
    bytes
        The engine.

    Raises
    ------
    EngineBuildError
        The builder refused the graph.
    """
    backend, precision = planned
    version = module_version(backend)
    named = [precision] if size is None else [precision, size]
    stage = " ".join(["Engine", backend, *named])
    plan = build_engine(
        graph.SerializeToString(),
        backend,
        min_batch=batch.min,
        opt_batch=batch.opt,
        max_batch=batch.max,
        workspace_mib=workspace_mib,
        tf32=precision != "fp32",
        timing_cache=cache_folder() / "timings" / f"{backend}-{version}",
        progress=lambda _phase, done: progress(stage, done),
        device=ordinal,
    )
    progress(stage, 1)
    file = f"{ENGINES}/{'-'.join([backend, version, *named])}.engine"
    (folder / ENGINES).mkdir(exist_ok=True)
    (folder / file).write_bytes(plan)
    built = {"gpu": None} if backend == "tensorrt-rtx" else built_for(describe_gpu(ordinal))
    record = EngineRecord(
        file=file,
        backend=backend,
        backend_version=version,
        precision=precision,
        **built,
        min_batch=batch.min,
        opt_batch=batch.opt,
        max_batch=batch.max,
    )
    return record, plan
