"""ONNX Runtime on the CPU and on CUDA."""

import os
import re
from typing import Any, Literal

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME, Precision
from fer_edge.engines import cuda
from fer_edge.engines.base import (
    EngineInfo,
    Faces,
    Probabilities,
    check_faces,
    check_probabilities,
)
from fer_edge.engines.processor import describe_processor
from fer_edge.engines.signature import Tensor, check_signature
from fer_edge.errors import BackendUnavailableError, EngineLoadError, InferenceError, UsageError
from fer_edge.forking import ForkGuard

PRECISION_KEY = "fer_edge.precision"
"""ONNX metadata key under which export writes the graph's precision."""

_FP8_MARK = b"\n\x12fer_edge.precision\x12\x03fp8"
"""That entry as ONNX stores it. ONNX Runtime tells metadata only of graphs that it has loaded."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxRuntimeEngine:
    """An ONNX graph in ONNX Runtime; any thread may call :meth:`run`, several at once.

    Parameters
    ----------
    graph : bytes
        Serialised ONNX model with the signature of :mod:`fer_edge.contract`.
    precision : str, optional
        By default what the ONNX metadata say under :data:`PRECISION_KEY`, else ``"fp32"``.
    device : {"cpu", "cuda"}
    threads : int, optional
        CPU threads for one call. By default the physical cores, or the cores that this process is
        confined to.

    Raises
    ------
    EngineLoadError
        ``graph`` is damaged, unsupported or of another signature.
    BackendUnavailableError
        CUDA was asked for and ONNX Runtime cannot use it. There is no fall-back to the CPU.
    UsageError
        ``threads`` below 1.

    References
    ----------
    https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """

    def __init__(
        self,
        graph: bytes,
        *,
        precision: Precision | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}.")
        self._session: Any = _open_session(graph, device, threads)
        # The second is ONNX Runtime's own session, which the first holds.
        self._guard = ForkGuard(
            "This engine", InferenceError, self._session, getattr(self._session, "_sess", None)
        )
        batch = check_signature(
            [_tensor(node) for node in self._session.get_inputs()],
            [_tensor(node) for node in self._session.get_outputs()],
            EngineLoadError,
        )
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._info = EngineInfo(
            backend=f"onnxruntime-{device}",
            backend_version=load_onnxruntime().__version__,
            precision=precision or metadata.get(PRECISION_KEY, "fp32"),
            device=describe_processor()[0] if device == "cpu" else _gpu_name(),
            min_batch=batch or 1,
            max_batch=batch,
        )

    def run(self, faces: Faces) -> Probabilities:
        """Classify one batch; see :meth:`fer_edge.engines.base.Engine.run`."""
        self._guard.check()
        session = self._session
        if session is None:
            raise InferenceError("This engine is closed.", hint="Open it again.")
        check_faces(faces, self._info)
        try:
            (probabilities,) = session.run([OUTPUT_NAME], {INPUT_NAME: faces})
        except Exception as error:
            raise InferenceError(
                f"{self._info.backend} failed on {len(faces)} faces: {_reason(error)}.",
                hint="Try a smaller batch.",
            ) from error
        return check_probabilities(probabilities, self._info)

    def describe(self) -> EngineInfo:
        """What this engine is and where it runs."""
        return self._info

    def close(self) -> None:
        """Free the session once calls under way have ended."""
        self._session = None

    def __enter__(self) -> "OnnxRuntimeEngine":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def load_onnxruntime() -> Any:
    """Import onnxruntime, which takes 80 ms and so waits for the first engine.

    Raises
    ------
    BackendUnavailableError
        It is not installed, or does not fit this system.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailableError(
            f"onnxruntime cannot be imported: {error}.", hint="Run: pip install onnxruntime"
        ) from error
    return onnxruntime


def require_cuda_provider() -> None:
    """Raise BackendUnavailableError unless this onnxruntime was built with CUDA."""
    ort = load_onnxruntime()
    if _PROVIDERS["cuda"] not in ort.get_available_providers():
        raise BackendUnavailableError(
            f"onnxruntime {ort.__version__} has no CUDA provider.",
            hint="Run: pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
        )


def _open_session(graph: bytes, device: Literal["cpu", "cuda"], threads: int | None) -> Any:
    ort = load_onnxruntime()
    if device == "cuda":
        require_cuda_provider()
        # Finds CUDA and cuDNN where pip installed them; since ONNX Runtime 1.21.
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
    options = session_options(threads)
    if _FP8_MARK in graph:
        # They fold ReLU and Clip into the quantisation that follows, and know integers only: a
        # ReLU before FP8 is lost, and a Clip fails the session (ONNX Runtime 1.32).
        options.add_session_config_entry(
            "optimization.disable_specified_optimizers", "ReluQuantRewrite;ClipQuantRewrite"
        )
    provider = _PROVIDERS[device]
    try:
        session = ort.InferenceSession(graph, options, providers=[provider], enable_fallback=False)
    except Exception as error:
        raise EngineLoadError(
            f"ONNX Runtime {ort.__version__} cannot load this graph: {_reason(error)}.",
            hint="Export the model again, or update onnxruntime if it is older than the graph.",
        ) from error
    if provider not in session.get_providers():
        raise BackendUnavailableError(
            "ONNX Runtime has a CUDA provider but could not start it.",
            hint="Check the driver with nvidia-smi, and run: "
            "pip install 'onnxruntime-gpu[cuda,cudnn]'",
        )
    return session


def session_options(threads: int | None = None) -> Any:
    """ONNX Runtime's options for a device that has other work, too."""
    options = load_onnxruntime().SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or _confined_cores()
    # Threads that spin between calls take 28 ms of CPU per call at 30 calls a second where the
    # calls themselves need 2.5 (two cores, 1.3 ms a call), and made none of them faster.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _confined_cores() -> int:
    """Cores where the process is confined to some; else 0, with which ORT takes the physical ones.

    ORT's own count ignores the process's affinity (measured with ``taskset``).
    """
    if not hasattr(os, "sched_getaffinity"):
        return 0
    cores = len(os.sched_getaffinity(0))
    return cores if cores != os.cpu_count() else 0


def _tensor(node: Any) -> Tensor:
    dtype = _DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return Tensor(node.name, dtype, shape)


def _reason(error: Exception) -> str:
    """First line of ORT's message, without ``[ONNXRuntimeError] : 7 : INVALID_PROTOBUF :``."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0]).rstrip(".")


def _gpu_name() -> str:
    # onnxruntime-gpu runs without cuda-bindings, which is where the name comes from.
    return cuda.device_name() if cuda.cuda_available()[0] else "NVIDIA GPU"
