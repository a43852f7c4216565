"""Graphs of an artifact, and lone ones, in ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fer_edge.contract import Precision
from fer_edge.engines.base import DescribedEngine, Engine
from fer_edge.engines.device_name import AUTO, CPU, gpu_of, runs_on_gpu
from fer_edge.engines.opened import Opened, keeps_contract, named, telling
from fer_edge.engines.openvino import OpenVinoEngine, openvino_version
from fer_edge.engines.openvino import require_exact_integers as exact_in_openvino
from fer_edge.engines.ort import (
    OnnxRuntimeEngine,
    gpu_name,
    onnxruntime_version,
    require_exact_integers,
)
from fer_edge.engines.ort_cuda import has_cuda_provider, require_cuda_provider
from fer_edge.engines.preference import prefer
from fer_edge.engines.tensorrt import TENSORRT_BACKENDS
from fer_edge.errors import ArtifactError, BackendUnavailableError, EngineError, UsageError
from fer_edge.external_data import read_graph

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact
    from fer_edge.sealed import SealedFolder

_Either = TypeVar("_Either")

# What "auto" tries, and takes where times are equal or unknown. On CUDA, ONNX Runtime runs Q/DQ
# nodes one by one: int8 gains nothing. Nowhere does it compute in fp8.
ORDERS: Final[dict[str, tuple[Precision, ...]]] = {
    "onnxruntime-cuda": ("fp16", "fp32", "int8"),
    "onnxruntime-cpu": ("int8", "fp32", "fp16"),
    "openvino": ("int8", "fp32", "fp16"),
}


def open_graph(
    artifact: Artifact,
    precision: Precision | None,
    backend: str,
    threads: int | None,
    device: str,
    tune: bool,
    passed_over: list[EngineError],
) -> Engine:
    labels = artifact.manifest.labels

    def on_cuda() -> DescribedEngine:
        gpu = _cuda_name(device)
        require_cuda_provider()
        return opened(
            "onnxruntime-cuda", lambda graph: OnnxRuntimeEngine(graph, device=gpu, labels=labels)
        )

    def on_cpu() -> DescribedEngine:
        return opened(
            "onnxruntime-cpu",
            lambda graph: OnnxRuntimeEngine(graph, threads=threads, labels=labels),
        )

    def in_openvino() -> DescribedEngine:
        return opened(
            "openvino", lambda graph: OpenVinoEngine(graph, threads=threads, labels=labels)
        )

    def opened(name: str, make: Callable[[bytes], DescribedEngine]) -> DescribedEngine:
        def open_one(chosen: Precision) -> DescribedEngine:
            record = artifact.graph(chosen)
            file = record.file if runs_on_gpu(name) else record.cpu_file or record.file
            return telling(_checked(artifact, chosen, file, make), file, passed_over)

        if precision is not None:
            return open_one(precision)
        order, objections = exact_precisions(artifact, ORDERS[name], name)
        preference = prefer(
            artifact,
            order,
            open_one,
            backend=name,
            backend_version=openvino_version() if name == "openvino" else onnxruntime_version(),
            threads=threads,
            device=gpu_name(gpu_of(device)) if runs_on_gpu(name) else None,
            objections=objections,
            tune=tune,
        )
        engine = open_one(preference.order[0])
        engine.add_facts(choice=preference.reason)
        return engine

    return on_first(backend, device, on_cuda, on_cpu, in_openvino, passed_over)


def exact_precisions(
    artifact: SealedFolder[Any], order: tuple[Precision, ...], backend: str
) -> tuple[tuple[Precision, ...], list[str]]:
    """What of ``order`` the backend may run without changing answers here, and why not the rest."""
    if "int8" in artifact.manifest.graphs and not runs_on_gpu(backend):
        try:
            (exact_in_openvino if backend == "openvino" else require_exact_integers)()
        except BackendUnavailableError as error:
            return tuple(p for p in order if p != "int8"), [error.message.rstrip(".")]
    return order, []


def _checked(
    artifact: Artifact,
    precision: Precision,
    file: str,
    make: Callable[[bytes], DescribedEngine],
) -> DescribedEngine:
    """Open a graph of the artifact; ArtifactError if it is of another precision."""
    path = artifact.folder / file
    with named(path):
        engine = make(artifact.read_graph(file))
    if engine.describe().precision != precision:
        have = engine.describe().precision
        engine.close()
        raise ArtifactError(
            f"The manifest gives {path} as {precision}, and it is {have}.",
            hint="Export the model again.",
        )
    return keeps_contract(engine, artifact, file)


def open_file(
    path: Path, precision: Precision | None, backend: str, threads: int | None, device: str
) -> Engine:
    if backend in TENSORRT_BACKENDS:
        raise UsageError(
            f"{backend} runs serialised engines, and {path} is a graph.",
            hint="Build an engine from the run it came from with: fer-edge export",
        )
    graph = read_graph(path)
    passed_over: list[EngineError] = []

    def opened(engine: Opened) -> Opened:
        return telling(engine, None, passed_over)

    with named(path):
        engine = on_first(
            backend,
            device,
            lambda: opened(OnnxRuntimeEngine(graph, device=_cuda_name(device))),
            lambda: opened(OnnxRuntimeEngine(graph, threads=threads)),
            lambda: opened(OpenVinoEngine(graph, threads=threads)),
            passed_over,
        )
    have = engine.describe().precision
    if precision not in (None, have):
        engine.close()
        raise UsageError(
            f"{path} is {have}, not {precision}.", hint="Leave out --precision, or name its graph."
        )
    return engine


def on_first(
    backend: str,
    device: str,
    on_cuda: Callable[[], _Either],
    on_cpu: Callable[[], _Either],
    in_openvino: Callable[[], _Either],
    passed_over: list[EngineError],
) -> _Either:
    """Of ONNX Runtime on CUDA and on the CPU the first that opens, or what was named.

    ``passed_over`` gets why CUDA was not taken, where this onnxruntime has it.
    """
    if backend == "openvino":
        return in_openvino()
    if backend == "onnxruntime-cpu" or device == CPU:
        return on_cpu()
    if backend == "onnxruntime-cuda":
        return on_cuda()
    if device != AUTO:
        try:
            return on_cuda()
        except EngineError as error:
            # Of a GPU that was named, all that failed on it is told.
            reasons = " ".join(reason.message for reason in (*passed_over, error))
            raise type(error)(reasons, hint=error.hint) from error
    if has_cuda_provider():
        try:
            return on_cuda()
        except EngineError as error:
            passed_over.append(error)
    return on_cpu()


def _cuda_name(device: str) -> str:
    return f"cuda:{gpu_of(device)}"
