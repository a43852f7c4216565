"""ONNX Runtime on the CPU and on CUDA."""

import os
from collections.abc import Sequence
from typing import Any

from fer_edge.contract import INPUT_NAME, LABELS_KEY, OUTPUT_NAME, Precision, split_labels
from fer_edge.engines import cuda
from fer_edge.engines.base import (
    DescribedEngine,
    EngineInfo,
    Faces,
    Probabilities,
    check_faces,
)
from fer_edge.engines.device_name import CPU, device_ordinal
from fer_edge.engines.integer_products import IntegerProducts, has_integers, integer_products
from fer_edge.engines.ort_cuda import open_cuda_session
from fer_edge.engines.ort_package import load_onnxruntime, reason
from fer_edge.engines.processor import describe_processor
from fer_edge.engines.signature import Tensor, check_signature
from fer_edge.errors import BackendUnavailableError, EngineLoadError, InferenceError, UsageError
from fer_edge.forking import ForkGuard

PRECISION_KEY = "fer_edge.precision"
"""ONNX metadata key under which export writes the graph's precision."""

_FP8_MARK = b"\n\x12fer_edge.precision\x12\x03fp8"
"""That entry as ONNX stores it. ONNX Runtime tells metadata only of graphs that it has loaded."""

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxRuntimeEngine(DescribedEngine):
    """An ONNX graph in ONNX Runtime; any thread may call :meth:`run`, several at once.

    Parameters
    ----------
    graph : bytes
        Serialised ONNX model with the signature of :mod:`fer_edge.contract`.
    precision : str, optional
        By default what the ONNX metadata say under :data:`PRECISION_KEY`, else ``"fp32"``.
    device : str
        ``"cpu"``, ``"cuda"``, or ``"cuda:1"`` for another GPU than the first.
    threads : int, optional
        CPU threads for one call. By default the physical cores, or the cores that this process is
        confined to.
    labels : sequence of str, optional
        Names of the outputs of a graph whose ONNX metadata have none under
        :data:`fer_edge.contract.LABELS_KEY`; by default FER2013's, where they are as many.

    Raises
    ------
    EngineLoadError
        ``graph`` is damaged, unsupported or of another signature.
    BackendUnavailableError
        CUDA was asked for and ONNX Runtime cannot use it: there is no fall-back to the CPU. Or the
        graph has integers, and none of ONNX Runtime's ways to multiply them is exact on this
        processor.
    UsageError
        ``threads`` below 1, or an unknown ``device``.

    References
    ----------
    https://onnxruntime.ai/docs/performance/tune-performance/threading.html
    """

    def __init__(
        self,
        graph: bytes,
        *,
        precision: Precision | None = None,
        device: str = CPU,
        threads: int | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}.")
        ordinal = device_ordinal(device)
        integers = require_exact_integers() if ordinal is None and has_integers(graph) else None
        self._session: Any = _open_session(graph, ordinal, threads, integers)
        # The second is ONNX Runtime's own session, which the first holds.
        self._guard = ForkGuard(
            "This engine", InferenceError, self._session, getattr(self._session, "_sess", None)
        )
        signature = check_signature(
            [_tensor(node) for node in self._session.get_inputs()],
            [_tensor(node) for node in self._session.get_outputs()],
            EngineLoadError,
        )
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._info = EngineInfo(
            backend="onnxruntime-cpu" if ordinal is None else "onnxruntime-cuda",
            backend_version=load_onnxruntime().__version__,
            precision=precision or metadata.get(PRECISION_KEY, "fp32"),
            device=describe_processor()[0] if ordinal is None else gpu_name(ordinal),
            min_batch=signature.batch or 1,
            max_batch=signature.batch,
            integers=None if integers is None else str(integers),
            contract=signature.contract(
                EngineLoadError, split_labels(metadata.get(LABELS_KEY)) or labels
            ),
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
                f"{self._info.backend} failed on {len(faces)} faces: {reason(error)}.",
                hint="Try a smaller batch.",
            ) from error
        return self.checked(probabilities)

    def close(self) -> None:
        """Free the session once calls under way have ended."""
        self._session = None
        self._guard.let_go()


def onnxruntime_version() -> str:
    """Release of the installed ONNX Runtime; BackendUnavailableError if there is none."""
    return str(load_onnxruntime().__version__)


def require_exact_integers() -> IntegerProducts:
    """How ONNX Runtime multiplies integers here; BackendUnavailableError if no way is exact."""
    version = onnxruntime_version()
    products = integer_products()
    if not products.exact:
        raise BackendUnavailableError(
            f"onnxruntime {version} cannot run int8 graphs here without changing labels: "
            f"{products.reason}.",
            hint="Take the precision fp32.",
        )
    return products


def _open_session(
    graph: bytes, ordinal: int | None, threads: int | None, integers: IntegerProducts | None
) -> Any:
    """A session on the GPU ``ordinal``, or on the CPU."""
    ort = load_onnxruntime()
    options = session_options(threads)
    if integers is not None:
        integers.apply_to(options)
    if _FP8_MARK in graph:
        # They fold ReLU and Clip into the quantisation that follows, and move it past pooling, but
        # know integers only: a ReLU before FP8 is lost, a Clip fails the session (ONNX Runtime
        # 1.32), and so does pooling (1.18 to 1.20).
        options.add_session_config_entry(
            "optimization.disable_specified_optimizers",
            "ReluQuantRewrite;ClipQuantRewrite;QDQPropagationTransformer",
        )
    if ordinal is not None:
        return open_cuda_session(graph, options, ordinal)
    try:
        return ort.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
    except Exception as error:
        raise EngineLoadError(
            f"ONNX Runtime {ort.__version__} cannot load this graph: {reason(error)}.",
            hint="Export the model again, or update onnxruntime if it is older than the graph.",
        ) from error


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


def gpu_name(ordinal: int) -> str:
    """Name of a GPU that the CUDA provider uses."""
    # onnxruntime-gpu runs without cuda-bindings, which is where the name comes from.
    return cuda.device_name(ordinal) if cuda.cuda_available()[0] else "NVIDIA GPU"
