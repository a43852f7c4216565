"""ONNX Runtime on the CPU and on CUDA."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fer_edge.contract import Precision
from fer_edge.engines import cuda
from fer_edge.engines.classifier import ClassifierEngine
from fer_edge.engines.device_name import CPU, device_ordinal
from fer_edge.engines.integer_products import IntegerProducts, has_integers, integer_products
from fer_edge.engines.network import Array, Network
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.onnx_network import check_threads, network_info, tensor, unloadable
from fer_edge.engines.ort_cuda import open_cuda_session
from fer_edge.engines.ort_inputs import GpuInputs
from fer_edge.engines.ort_package import load_onnxruntime, reason
from fer_edge.engines.picking import Pick
from fer_edge.engines.processor import available_cores, describe_processor
from fer_edge.engines.signature import Tensor
from fer_edge.errors import BackendUnavailableError

_FP8_MARK = b"\n\x12fer_edge.precision\x12\x03fp8"
"""That entry as ONNX stores it. ONNX Runtime tells metadata only of graphs that it has loaded."""

_DTYPES = {"float": "float32", "double": "float64"}


class OnnxRuntimeNetwork(Network):
    """An ONNX graph in ONNX Runtime; several calls may be under way at once.

    Parameters
    ----------
    graph : bytes
        Serialised ONNX model.
    precision : str, optional
        By default what the ONNX metadata say under
        :data:`~fer_edge.engines.network.PRECISION_KEY`, else ``"fp32"``.
    device : str
        ``"cpu"``, ``"cuda"``, or ``"cuda:1"`` for another GPU than the first.
    threads : int, optional
        CPU threads for one call. By default the physical cores, or the cores that this process is
        confined to.

    Raises
    ------
    EngineLoadError
        ``graph`` is damaged or unsupported.
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
    ) -> None:
        check_threads(threads)
        ordinal = device_ordinal(device)
        integers = require_exact_integers() if ordinal is None and has_integers(graph) else None
        session = _open_session(graph, ordinal, threads, integers)
        metadata = session.get_modelmeta().custom_metadata_map
        info = network_info(
            "onnxruntime-cpu" if ordinal is None else "onnxruntime-cuda",
            onnxruntime_version(),
            precision,
            describe_processor()[0] if ordinal is None else gpu_name(ordinal),
            ([*map(_tensor, session.get_inputs())], [*map(_tensor, session.get_outputs())]),
            metadata,
            integers=None if integers is None else str(integers),
            gpu=ordinal,
        )
        self._outputs = [output.name for output in info.outputs]
        self._there = None if ordinal is None else GpuInputs(ordinal, info.inputs, info.outputs)
        # The second is ONNX Runtime's own session, which the first holds.
        super().__init__(session, info, session, getattr(session, "_sess", None))

    def _compute(self, handle: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._there is not None and any(isinstance(one, OnGpu) for one in inputs.values()):
            return self._there.run(handle, inputs)
        return dict(zip(self._outputs, handle.run(self._outputs, inputs), strict=True))

    def compute_picked(self, inputs: Mapping[str, OnGpu], pick: Pick) -> list[Any]:
        """As :meth:`fer_edge.engines.network.Network.compute_picked`."""
        if self._there is None:
            return super().compute_picked(inputs, pick)
        there = self._there
        return self._guarded(lambda handle: there.run_picked(handle, inputs, pick), inputs)

    @staticmethod
    def _reason(error: Exception) -> str:
        return reason(error)


class OnnxRuntimeEngine(ClassifierEngine):
    """A classifier's graph in ONNX Runtime; any thread may call :meth:`run`, several at once.

    Parameters
    ----------
    graph, precision, device, threads
        As :class:`OnnxRuntimeNetwork` takes them.
    labels : sequence of str, optional
        As :class:`~fer_edge.engines.classifier.ClassifierEngine` takes them.

    Raises
    ------
    EngineLoadError, BackendUnavailableError, UsageError
        As both say.
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
        network = OnnxRuntimeNetwork(graph, precision=precision, device=device, threads=threads)
        super().__init__(network, labels)


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
        product = f"ONNX Runtime {ort.__version__}"
        raise unloadable(product, "onnxruntime", reason(error)) from error


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

    ORT's own count ignores the process's affinity (measured with ``taskset``) and control groups.
    """
    cores = available_cores()
    return cores if cores != os.cpu_count() else 0


def _tensor(node: Any) -> Tensor:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    shape = [size if isinstance(size, int) else None for size in node.shape]
    return tensor(node.name, kind, _DTYPES, shape)


def gpu_name(ordinal: int) -> str:
    """Name of a GPU that the CUDA provider uses."""
    # onnxruntime-gpu runs without cuda-bindings, which is where the name comes from.
    return cuda.device_name(ordinal) if cuda.cuda_available()[0] else "NVIDIA GPU"
