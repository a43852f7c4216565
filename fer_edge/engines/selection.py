"""Which engine runs a model on this machine, and what else this machine could run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from fer_edge.contract import PRECISIONS, Precision
from fer_edge.engines import cuda
from fer_edge.engines.base import Engine
from fer_edge.engines.built_for import built_elsewhere
from fer_edge.engines.openvino import OpenVinoEngine, openvino_version
from fer_edge.engines.ort import OnnxRuntimeEngine, load_onnxruntime, require_cuda_provider
from fer_edge.engines.tensorrt import (
    TENSORRT_BACKENDS,
    TensorRTBackend,
    TensorRTEngine,
    module_version,
)
from fer_edge.errors import (
    ArtifactError,
    BackendUnavailableError,
    EngineLoadError,
    FerEdgeError,
    UsageError,
)
from fer_edge.files import storage_errors

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact, EngineRecord

BACKENDS: Final = (*TENSORRT_BACKENDS, "onnxruntime-cuda", "onnxruntime-cpu", "openvino")

_RTX_CAPABILITY = (8, 0)
"""Least compute capability of engines that TensorRT-RTX builds for no GPU in particular.

https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html
"""
_FP8_CAPABILITY = (8, 9)
"""Least compute capability with FP8 arithmetic.

https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-quantized-types.html
"""

# What "auto" prefers. On CUDA, ONNX Runtime runs Q/DQ nodes one by one, so that int8 gains nothing,
# and nowhere does it compute in fp8.
_ENGINE_ORDER: tuple[Precision, ...] = ("int8", "fp8", "fp16", "fp32")
_CPU_ORDER: tuple[Precision, ...] = ("int8", "fp32", "fp16")
_CUDA_ORDER: tuple[Precision, ...] = ("fp16", "fp32", "int8")


def open_engine(
    model: Artifact | Path | str,
    *,
    precision: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
) -> Engine:
    """Open a model on this machine.

    Parameters
    ----------
    model : Artifact, Path or str
        An artifact, its folder, or a lone ONNX file.
    precision : {"auto", "fp32", "fp16", "int8", "fp8"}
        ``"auto"`` takes the first that there is of: int8, fp8, fp16, fp32 in serialised engines;
        int8, fp32, fp16 on the CPU; fp16, fp32, int8 in ONNX Runtime on CUDA.
    backend : str
        One of :data:`BACKENDS`, or ``"auto"``, which takes a serialised engine of the artifact if
        this machine has its backend in the same version and a GPU that it fits; else ONNX Runtime
        on CUDA if that starts here; else ONNX Runtime on the CPU. OpenVINO has to be named. Naming
        a backend tells why it cannot be had.
    threads : int, optional
        CPU threads of ONNX Runtime on the CPU and of OpenVINO.

    Raises
    ------
    UsageError
        An unknown precision or backend, or a lone ONNX file of another precision.
    ArtifactError
        The artifact is damaged, or was exported without the precision.
    BackendUnavailableError
        This machine cannot run the backend that was asked for, or none of its engines.
    EngineLoadError
        The graph or engine cannot be loaded.
    StorageError
        The ONNX file cannot be read.
    MissingDependencyError
        ``FER_EDGE_CUDA`` names a package that cannot be imported.
    """
    if precision not in ("auto", *PRECISIONS):
        raise UsageError(
            f"Unknown precision {precision!r}.", hint=f"Take auto, {', '.join(PRECISIONS)}."
        )
    if backend not in ("auto", *BACKENDS):
        raise UsageError(f"Unknown backend {backend!r}.", hint=f"Take auto, {', '.join(BACKENDS)}.")
    wanted = None if precision == "auto" else cast(Precision, precision)
    if isinstance(model, str | Path):
        path = Path(model)
        if path.suffix == ".onnx":
            return _open_file(path, wanted, backend, threads)
        from fer_edge.artifact import Artifact

        model = Artifact.load(path)

    if backend in ("auto", *TENSORRT_BACKENDS):
        engine = _open_serialised(model, wanted, backend)
        if engine is not None:
            return engine
    return _open_graph(model, wanted, backend, threads)


def _open_serialised(
    artifact: Artifact, precision: Precision | None, backend: str
) -> Engine | None:
    """The best serialised engine for this machine; None if "auto" has none to take."""
    wanted = (precision,) if precision else _ENGINE_ORDER
    records = [
        record
        for record in artifact.manifest.engines
        if record.precision in wanted and backend in ("auto", record.backend)
    ]
    refusals = []
    for record in sorted(records, key=lambda record: wanted.index(record.precision)):
        refusal = _refusal(record)
        if refusal is None:
            return TensorRTEngine(
                artifact.read(record.file), record.backend, precision=record.precision
            )
        refusals.append(refusal)
    if backend == "auto":
        return None
    if refusals:
        raise refusals[0]
    module_version(cast(TensorRTBackend, backend))
    kind = f"{precision} engine" if precision else "engine"
    raise BackendUnavailableError(
        f"{artifact.folder} has no {kind} for {backend}.",
        hint=f"Build one with: fer-edge export{f' --{precision}' if precision else ''}",
    )


def _refusal(record: EngineRecord) -> BackendUnavailableError | None:
    """Why this machine cannot run an engine of the manifest; None if it can."""
    try:
        version = module_version(record.backend)
        cuda.require_cuda()
        gpu = cuda.describe_gpu()
    except BackendUnavailableError as error:
        return error
    rebuild = "Build it again on this machine with: fer-edge export"
    if version != record.backend_version:
        return BackendUnavailableError(
            f"{record.file} was built by {record.backend} {record.backend_version}, "
            f"and this machine has {version}.",
            hint=rebuild,
        )
    elsewhere = built_elsewhere(record, gpu)
    if elsewhere is not None:
        return BackendUnavailableError(elsewhere, hint=rebuild)
    least = _FP8_CAPABILITY if record.precision == "fp8" else _RTX_CAPABILITY
    if record.gpu is None and gpu.capability < least:
        return BackendUnavailableError(
            f"{record.file} needs compute capability {'.'.join(map(str, least))}, and {gpu.name} "
            f"has {'.'.join(map(str, gpu.capability))}.",
            hint="Take the backend onnxruntime-cuda or onnxruntime-cpu.",
        )
    return None


def _open_graph(
    artifact: Artifact, precision: Precision | None, backend: str, threads: int | None
) -> Engine:
    def on_cuda() -> Engine:
        chosen = precision or _first(_CUDA_ORDER, artifact)
        return opened(OnnxRuntimeEngine, chosen, artifact.graph(chosen).file, device="cuda")

    def on_cpu() -> Engine:
        chosen = precision or _first(_CPU_ORDER, artifact)
        record = artifact.graph(chosen)
        return opened(OnnxRuntimeEngine, chosen, record.cpu_file or record.file, threads=threads)

    def in_openvino() -> Engine:
        chosen = precision or _first(_CPU_ORDER, artifact)
        record = artifact.graph(chosen)
        return opened(OpenVinoEngine, chosen, record.cpu_file or record.file, threads=threads)

    def opened(kind: Callable[..., Engine], chosen: Precision, file: str, **options: Any) -> Engine:
        path = artifact.folder / file
        with _named(path):
            engine = kind(artifact.read(file), **options)
        if engine.describe().precision != chosen:
            have = engine.describe().precision
            engine.close()
            raise ArtifactError(
                f"The manifest gives {path} as {chosen}, and it is {have}.",
                hint="Export the model again.",
            )
        return engine

    return _on_first(backend, on_cuda, on_cpu, in_openvino)


def _open_file(
    path: Path, precision: Precision | None, backend: str, threads: int | None
) -> Engine:
    if backend in TENSORRT_BACKENDS:
        raise UsageError(
            f"{backend} runs serialised engines, and {path} is a graph.",
            hint="Build an engine from the run it came from with: fer-edge export",
        )
    with storage_errors(path):
        graph = path.read_bytes()
    with _named(path):
        engine = _on_first(
            backend,
            lambda: OnnxRuntimeEngine(graph, device="cuda"),
            lambda: OnnxRuntimeEngine(graph, threads=threads),
            lambda: OpenVinoEngine(graph, threads=threads),
        )
    have = engine.describe().precision
    if precision not in (None, have):
        engine.close()
        raise UsageError(
            f"{path} is {have}, not {precision}.", hint="Leave out --precision, or name its graph."
        )
    return engine


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which file an EngineLoadError is."""
    try:
        yield
    except EngineLoadError as error:
        raise EngineLoadError(f"{path}: {error.message}", hint=error.hint) from error


def _on_first(
    backend: str,
    on_cuda: Callable[[], Engine],
    on_cpu: Callable[[], Engine],
    in_openvino: Callable[[], Engine],
) -> Engine:
    if backend == "openvino":
        return in_openvino()
    if backend != "onnxruntime-cpu":
        try:
            return on_cuda()
        except BackendUnavailableError:
            if backend != "auto":
                raise
    return on_cpu()


def _first(order: Iterable[Precision], artifact: Artifact) -> Precision:
    for precision in order:
        if precision in artifact.manifest.graphs:
            return precision
    raise ArtifactError(f"{artifact.folder} has no graph.", hint="Export the model again.")


@dataclass(frozen=True)
class BackendStatus:
    """What one backend can do on this machine."""

    backend: str
    version: str | None
    """Of the installed package; None where it is not installed."""
    can_build: bool
    """Whether engines can be built from graphs here; always False for ONNX Runtime and
    OpenVINO."""
    can_run: bool
    reason: str | None = None
    """Why not, where it cannot run."""
    hint: str | None = None
    """What to do about it."""

    @property
    def available(self) -> bool:
        return self.can_build or self.can_run


def backend_status() -> list[BackendStatus]:
    """What every backend of :data:`BACKENDS` can do here, in that order. Raises nothing."""
    return [
        *(_tensorrt_status(backend) for backend in TENSORRT_BACKENDS),
        _graph_status("onnxruntime-cuda", _onnxruntime_version, _try_cuda),
        _graph_status("onnxruntime-cpu", _onnxruntime_version),
        _graph_status("openvino", openvino_version),
    ]


def _tensorrt_status(backend: TensorRTBackend) -> BackendStatus:
    try:
        version = module_version(backend)
    except BackendUnavailableError as error:
        return BackendStatus(backend, None, False, False, error.message, error.hint)
    try:
        cuda.require_cuda()
    except FerEdgeError as error:
        builds = backend == "tensorrt-rtx"
        return BackendStatus(backend, version, builds, False, error.message, error.hint)
    return BackendStatus(backend, version, True, True)


def _graph_status(
    backend: str, find_version: Callable[[], str], attempt: Callable[[], None] = lambda: None
) -> BackendStatus:
    version = None
    try:
        version = find_version()
        attempt()
    except FerEdgeError as error:
        return BackendStatus(backend, version, False, False, error.message, error.hint)
    return BackendStatus(backend, version, False, True)


def _onnxruntime_version() -> str:
    return load_onnxruntime().__version__


def _try_cuda() -> None:
    require_cuda_provider()
    cuda.require_cuda()
