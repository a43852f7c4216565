"""Which engine runs a model on this machine, and what else this machine could run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

from fer_edge.contract import PRECISIONS, Precision
from fer_edge.engines import cuda
from fer_edge.engines.base import DescribedEngine, Engine
from fer_edge.engines.built_for import built_elsewhere
from fer_edge.engines.device_name import (
    AUTO,
    CPU,
    check_device,
    gpu_of,
    require_gpu,
    runs_on_gpu,
)
from fer_edge.engines.openvino import OpenVinoEngine, openvino_version
from fer_edge.engines.openvino import require_exact_integers as exact_in_openvino
from fer_edge.engines.ort import (
    OnnxRuntimeEngine,
    gpu_name,
    onnxruntime_version,
    require_exact_integers,
)
from fer_edge.engines.ort_cuda import has_cuda_provider, require_cuda_provider
from fer_edge.engines.preference import prefer, rank
from fer_edge.engines.tensorrt import (
    PREFERENCE,
    TENSORRT_BACKENDS,
    TensorRTBackend,
    TensorRTEngine,
    module_version,
)
from fer_edge.engines.tensorrt.rtx_validity import (
    RTX_PORTABLE,
    check_validity,
    listed,
    tells_validity,
)
from fer_edge.errors import (
    ArtifactError,
    BackendUnavailableError,
    EngineError,
    EngineLoadError,
    FerEdgeError,
    UsageError,
)
from fer_edge.files import storage_errors

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact, EngineRecord

BACKENDS: Final = (*TENSORRT_BACKENDS, "onnxruntime-cuda", "onnxruntime-cpu", "openvino")

FP8_CAPABILITY = (8, 9)
"""Least compute capability with FP8 arithmetic.

https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-quantized-types.html
"""

# What "auto" tries, and takes where times are equal or unknown. On CUDA, ONNX Runtime runs Q/DQ
# nodes one by one: int8 gains nothing. Nowhere does it compute in fp8.
_ORDERS: Final[dict[str, tuple[Precision, ...]]] = {
    **{flavour: PREFERENCE[flavour] for flavour in TENSORRT_BACKENDS},
    "onnxruntime-cuda": ("fp16", "fp32", "int8"),
    "onnxruntime-cpu": ("int8", "fp32", "fp16"),
    "openvino": ("int8", "fp32", "fp16"),
}


_Opened = TypeVar("_Opened", bound=DescribedEngine)


def open_engine(
    model: Artifact | Path | str,
    *,
    precision: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    device: str = AUTO,
    tune: bool = True,
) -> Engine:
    """Open a model on this machine.

    Parameters
    ----------
    model : Artifact, Path or str
        An artifact, its folder, or a lone ONNX file.
    precision : {"auto", "fp32", "fp16", "int8", "fp8"}
        ``"auto"`` takes the fastest on this machine of those whose recorded scores hold against
        fp32's, as :func:`fer_edge.engines.preference.prefer` has it; ``describe().choice`` says
        what it went by. Where times are equal or unknown it takes the first that there is of:
        int8, fp8, fp16, fp32 in TensorRT; fp16, int8, fp8, fp32 in TensorRT-RTX; int8, fp32, fp16
        on the CPU; fp16, fp32, int8 in ONNX Runtime on CUDA.
    backend : str
        One of :data:`BACKENDS`, or ``"auto"``, which takes a serialised engine of the artifact if
        this machine has its backend in the same version and a GPU that it fits; else ONNX Runtime
        on CUDA if that starts here; else ONNX Runtime on the CPU. What cannot be opened is passed
        over, and :attr:`EngineInfo.passed_over` says why. OpenVINO has to be named. Naming a
        backend tells why it cannot be had.
    threads : int, optional
        CPU threads of ONNX Runtime on the CPU and of OpenVINO.
    device : str
        ``"cpu"``, ``"cuda"`` for the first GPU, ``"cuda:1"`` for the next. ``"auto"`` is the first
        GPU, or the CPU where no GPU can be used; one that is named and cannot be used is an error.
    tune : bool
        Whether ``"auto"`` times the graphs at the first open on a machine. Serialised engines are
        timed by an export and by ``fer-edge tune`` alone.

    Raises
    ------
    UsageError
        An unknown precision, backend or device, a backend that does not run on the device, or a
        lone ONNX file of another precision.
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
    check_device(device, backend)
    wanted = None if precision == "auto" else cast(Precision, precision)
    if isinstance(model, str | Path):
        path = Path(model)
        if path.suffix == ".onnx":
            return _open_file(path, wanted, backend, threads, device)
        from fer_edge.artifact import Artifact

        model = Artifact.load(path)

    passed_over: list[EngineError] = []
    if backend in ("auto", *TENSORRT_BACKENDS) and device != CPU:
        engine = _open_serialised(model, wanted, backend, gpu_of(device), passed_over)
        if engine is not None:
            return engine
    return _open_graph(model, wanted, backend, threads, device, tune, passed_over)


def _open_serialised(
    artifact: Artifact,
    precision: Precision | None,
    backend: str,
    ordinal: int,
    passed_over: list[EngineError],
) -> Engine | None:
    """The best serialised engine for this machine; None if "auto" has none to take.

    Why others cannot be had is added to ``passed_over``.
    """
    for record, choice in _ranked(artifact, precision, backend, ordinal):
        refusal: EngineError | None = _refusal(record, ordinal)
        if refusal is None:
            try:
                engine = _open_record(artifact, record, ordinal)
                return _telling(engine, record.file, passed_over, choice)
            except EngineError as error:
                refusal = error
        passed_over.append(_of(record.file, refusal))
    if backend == "auto":
        return None
    if passed_over:
        raise passed_over[0]
    flavour = cast(TensorRTBackend, backend)
    module_version(flavour)
    kind = f"{precision} engine" if precision else "engine"
    raise BackendUnavailableError(
        f"{artifact.folder} has no {kind} for {backend}.",
        hint=f"Build one with: {build_command(artifact, precision, flavour)}",
    )


def _ranked(
    artifact: Artifact, precision: Precision | None, backend: str, ordinal: int
) -> Iterator[tuple[EngineRecord, str | None]]:
    """Engines to try, the preferred first, and what the preference goes by."""
    for flavour in TENSORRT_BACKENDS:
        records = {r.precision: r for r in artifact.manifest.engines if r.backend == flavour}
        if backend not in ("auto", flavour) or not records:
            continue
        if precision is not None:
            if precision in records:
                yield records[precision], None
            continue
        preference = rank(
            artifact,
            [p for p in _ORDERS[flavour] if p in records],
            backend=flavour,
            backend_version=next(iter(records.values())).backend_version,
            device=_name_of(ordinal),
        )
        for chosen in preference.order:
            yield records[chosen], preference.reason


def _name_of(ordinal: int) -> str | None:
    """Name of a GPU; None where there is none, which the refusal of each engine then tells."""
    try:
        require_gpu(ordinal)
        return cuda.device_name(ordinal)
    except FerEdgeError:
        return None


def build_command(artifact: Artifact, precision: Precision | None, backend: TensorRTBackend) -> str:
    """The command that makes an artifact of the same graphs with this engine."""
    wanted = {*artifact.manifest.graphs, *filter(None, [precision])} - {"fp32"}
    options = [f"--{name}" for name in PRECISIONS if name in wanted]
    if precision == "fp32" and options:
        options.append("--fp32-engine")
    source = shlex.quote(str(artifact.folder))
    return " ".join(["fer-edge export", source, *options, "--engine", backend, "--out FOLDER"])


def _open_record(artifact: Artifact, record: EngineRecord, ordinal: int) -> TensorRTEngine:
    plan = artifact.read(record.file)
    if record.backend == "tensorrt-rtx":
        # The runtime tells it of the GPU whose context is current.
        with cuda.Device(ordinal):
            check_validity(plan)
    engine = TensorRTEngine(
        plan,
        record.backend,
        precision=record.precision,
        device=ordinal,
        labels=artifact.manifest.labels,
    )
    return _keeps_contract(engine, artifact, record.file)


def _of(file: str, error: EngineError) -> EngineError:
    """The error, naming the file."""
    if file in error.message:
        return error
    return type(error)(f"{file}: {error.message}", hint=error.hint)


def _telling(
    engine: _Opened,
    file: str | None,
    passed_over: Iterable[EngineError],
    choice: str | None = None,
) -> _Opened:
    """Let :meth:`Engine.describe` say what was loaded, instead of what, and why."""
    reasons = tuple(error.message for error in passed_over)
    engine.add_facts(file=file, passed_over=reasons, choice=choice)
    return engine


def _refusal(record: EngineRecord, ordinal: int) -> BackendUnavailableError | None:
    """Why this machine's GPU ``ordinal`` cannot run an engine of the manifest; None if it can."""
    try:
        version = module_version(record.backend)
        require_gpu(ordinal)
        gpu = cuda.describe_gpu(ordinal)
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
    if record.gpu is None and record.precision == "fp8" and gpu.capability < FP8_CAPABILITY:
        return _without(record, gpu, f"{listed([FP8_CAPABILITY])} or more")
    if record.gpu is None and not tells_validity() and gpu.capability not in RTX_PORTABLE:
        return _without(record, gpu, f"one of {listed(RTX_PORTABLE)}")
    return None


def _without(
    record: EngineRecord, gpu: cuda.GpuDescription, needed: str
) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"{record.file} needs compute capability {needed}, and {gpu.name} has "
        f"{listed([gpu.capability])}.",
        hint="Take the backend onnxruntime-cuda or onnxruntime-cpu.",
    )


def _open_graph(
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
            return _telling(_checked(artifact, chosen, file, make), file, passed_over)

        if precision is not None:
            return open_one(precision)
        order, objections = _exact(artifact, name)
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

    return _on_first(backend, device, on_cuda, on_cpu, in_openvino, passed_over)


def _exact(artifact: Artifact, backend: str) -> tuple[tuple[Precision, ...], list[str]]:
    """What the backend may run without changing labels on this processor, and why not the rest."""
    order = _ORDERS[backend]
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
    with _named(path):
        engine = make(artifact.read(file))
    if engine.describe().precision != precision:
        have = engine.describe().precision
        engine.close()
        raise ArtifactError(
            f"The manifest gives {path} as {precision}, and it is {have}.",
            hint="Export the model again.",
        )
    return _keeps_contract(engine, artifact, file)


def _keeps_contract(engine: _Opened, artifact: Artifact, file: str) -> _Opened:
    """The engine; ArtifactError if it takes other faces or gives others labels than is recorded."""
    have, wanted = engine.describe().contract, artifact.contract
    if have != wanted:
        engine.close()
        raise ArtifactError(
            f"The manifest gives {artifact.folder / file} as {wanted}, and it is {have}.",
            hint="Export the model again.",
        )
    return engine


def _open_file(
    path: Path, precision: Precision | None, backend: str, threads: int | None, device: str
) -> Engine:
    if backend in TENSORRT_BACKENDS:
        raise UsageError(
            f"{backend} runs serialised engines, and {path} is a graph.",
            hint="Build an engine from the run it came from with: fer-edge export",
        )
    with storage_errors(path):
        graph = path.read_bytes()
    passed_over: list[EngineError] = []

    def opened(engine: _Opened) -> _Opened:
        return _telling(engine, None, passed_over)

    with _named(path):
        engine = _on_first(
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


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which file an EngineLoadError is."""
    try:
        yield
    except EngineLoadError as error:
        raise EngineLoadError(f"{path}: {error.message}", hint=error.hint) from error


def _on_first(
    backend: str,
    device: str,
    on_cuda: Callable[[], Engine],
    on_cpu: Callable[[], Engine],
    in_openvino: Callable[[], Engine],
    passed_over: list[EngineError],
) -> Engine:
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
