"""TensorRT engines of a detector."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx

from fer_edge.contract import Precision
from fer_edge.detector_artifact import DetectorEngineRecord
from fer_edge.export.quantization.forms.float16 import to_float16
from fer_edge.export.targets.engine_file import write_engine
from fer_edge.export.targets.engine_plan import BatchRange, Planned

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
        for (of, size), graph in graphs.items():
            if of != precision:
                continue
            record, _ = write_engine(
                folder,
                to_float16(graph, in_float32) if precision == "int8" else graph,
                (backend, precision),
                size=size,
                batch=batch,
                workspace_mib=workspace_mib,
                ordinal=ordinal,
                progress=progress,
            )
            record.kept = dict(in_float32) if precision != "fp32" else {}
            records.append(DetectorEngineRecord(**record.model_dump(), size=size))
    return records
