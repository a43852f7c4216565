"""Which engine runs a model on this machine, and what else this machine could run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from fer_edge.contract import PRECISIONS, Precision
from fer_edge.engines.base import Engine
from fer_edge.engines.device_name import AUTO, CPU, check_device, gpu_of
from fer_edge.engines.onnx_graphs import open_file, open_graph
from fer_edge.engines.serialised import open_serialised
from fer_edge.engines.tensorrt import TENSORRT_BACKENDS
from fer_edge.errors import EngineError, UsageError

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact

BACKENDS: Final = (*TENSORRT_BACKENDS, "onnxruntime-cuda", "onnxruntime-cpu", "openvino")


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
            return open_file(path, wanted, backend, threads, device)
        from fer_edge.artifact import Artifact

        model = Artifact.load(path)

    passed_over: list[EngineError] = []
    if backend in ("auto", *TENSORRT_BACKENDS) and device != CPU:
        engine = open_serialised(model, wanted, backend, gpu_of(device), passed_over)
        if engine is not None:
            return engine
    return open_graph(model, wanted, backend, threads, device, tune, passed_over)
