"""TensorRT engines of a detector."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx

from fer_edge.artifact import ENGINES
from fer_edge.contract import Precision
from fer_edge.detector_artifact import DetectorEngineRecord
from fer_edge.engines.built_for import built_for
from fer_edge.engines.cuda import describe_gpu
from fer_edge.engines.tensorrt import build_engine, module_version
from fer_edge.export.engine_plan import BatchRange, Planned
from fer_edge.export.float16 import to_float16
from fer_edge.files import cache_folder

BATCH = BatchRange(1, 1, 4)
"""Frames at once: those of several cameras."""


def build_engines(
    folder: Path,
    graphs: Mapping[tuple[Precision, str], onnx.ModelProto],
    in_float32: Mapping[str, str],
    planned: Sequence[Planned],
    *,
    batch: BatchRange,
    workspace_mib: int,
    ordinal: int,
    progress: Callable[[str, float], None],
) -> list[DetectorEngineRecord]:
    """Build an engine of every graph that is planned for, one for each size of frames.

    Parameters
    ----------
    folder : Path
        The artifact's.
    graphs : mapping
        Graphs of record by precision and size.
    in_float32 : mapping of str to str
        Nodes that stay in float32 where the rest of an engine is float16, and why.
    planned : sequence of (backend, precision)

    Raises
    ------
    EngineBuildError
        A builder refused a graph.
    """
    records = []
    for backend, precision in planned:
        version = module_version(backend)
        for (of, size), record in graphs.items():
            if of != precision:
                continue
            graph = to_float16(record, in_float32) if precision == "int8" else record
            stage = f"Engine {backend} {precision} {size}"
            plan = build_engine(
                graph.SerializeToString(),
                backend,
                min_batch=batch.min,
                opt_batch=batch.opt,
                max_batch=batch.max,
                workspace_mib=workspace_mib,
                tf32=precision != "fp32",
                timing_cache=cache_folder() / "timings" / f"{backend}-{version}",
                progress=lambda _phase, done, stage=stage: progress(stage, done),  # type: ignore[misc]
                device=ordinal,
            )
            progress(stage, 1)
            file = f"{ENGINES}/{backend}-{version}-{precision}-{size}.engine"
            (folder / ENGINES).mkdir(exist_ok=True)
            (folder / file).write_bytes(plan)
            built = {"gpu": None} if backend == "tensorrt-rtx" else built_for(describe_gpu(ordinal))
            records.append(
                DetectorEngineRecord(
                    file=file,
                    backend=backend,
                    backend_version=version,
                    precision=precision,
                    size=size,
                    **built,
                    min_batch=batch.min,
                    opt_batch=batch.opt,
                    max_batch=batch.max,
                    kept=dict(in_float32) if precision != "fp32" else {},
                )
            )
    return records
