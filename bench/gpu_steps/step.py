"""What a step is, and what steps need."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.contract import Precision
from fer_edge.engines import cuda
from fer_edge.engines.tensorrt import TensorRTBackend, build_engine, module_version
from fer_edge.errors import BackendUnavailableError, FerEdgeError

CARRIED = Path(__file__).parents[2] / "fer_edge/models/carried/compact"


class Skipped(Exception):  # noqa: N818
    """A step cannot run here; the text says why."""


@dataclass(frozen=True)
class Step:
    """Something to find out, in a process of its own."""

    purpose: str
    limit_s: int
    take: Callable[[Path, float], Any]
    """Called with a folder for files, shared by all steps, and the seconds of a measurement;
    returns what goes into the JSON."""


def need_gpu() -> cuda.GpuDescription:
    """The first GPU; Skipped where there is none."""
    try:
        return cuda.describe_gpu()
    except FerEdgeError as error:
        raise Skipped(error.message) from error


def need(*modules: str) -> list[Any]:
    """Import modules; Skipped where one is missing."""
    found = []
    for name in modules:
        try:
            found.append(importlib.import_module(name))
        except ImportError as error:  # noqa: PERF203
            raise Skipped(f"{name} cannot be imported: {error}.") from error
    return found


def need_backend(backend: TensorRTBackend) -> str:
    """Version of a TensorRT flavour; Skipped where it is missing."""
    try:
        return module_version(backend)
    except BackendUnavailableError as error:
        raise Skipped(error.message) from error


def carried_plan(work: Path, backend: TensorRTBackend, precision: Precision) -> bytes:
    """An engine of the carried model, built once for all steps."""
    need("onnx")
    from fer_edge.artifact import Artifact
    from fer_edge.export.pipeline import export_model

    path = work / f"carried-{backend}-{precision}.engine"
    if not path.is_file():
        if precision == "fp16":
            out = work / "carried"
            if not out.is_dir():
                export_model(CARRIED, out, precisions=["fp16", "int8"])
            graph = Artifact.load(out).read("fp16.onnx")
        else:
            graph = Artifact.load(CARRIED).read(f"{precision}.onnx")
        path.write_bytes(build_engine(graph, backend, opt_batch=8, max_batch=64))
    return path.read_bytes()
