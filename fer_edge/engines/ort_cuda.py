"""ONNX Runtime's sessions on CUDA."""

import re
from typing import Any

from fer_edge.engines.old_driver import driver_cuda, is_old_driver, old_driver
from fer_edge.engines.ort_package import cuda_of, load_onnxruntime, reason, without_cuda
from fer_edge.engines.stdout import stdout_to_stderr
from fer_edge.errors import BackendUnavailableError, EngineLoadError

PROVIDER = "CUDAExecutionProvider"

_FAILURE = re.compile(r"(CU\w+) failure (-?\w+): (.*?) ?(?:;|$)")
"""``CUDA failure 35: CUDA driver version is … ; GPU=-1 ; hostname=… ; file=… ; expr=…``"""

_LAST_FOR_CUDA_12 = "pip install 'onnxruntime-gpu[cuda,cudnn]<1.27'"
"""From 1.27 on, PyPI's packages are built with CUDA 13, as their metadata say."""


def has_cuda_provider() -> bool:
    """Whether this onnxruntime was built with CUDA."""
    return PROVIDER in load_onnxruntime().get_available_providers()


def require_cuda_provider() -> None:
    """Raise BackendUnavailableError unless this onnxruntime was built with CUDA."""
    if not has_cuda_provider():
        raise without_cuda()


def open_cuda_session(graph: bytes, options: Any, ordinal: int = 0) -> Any:
    """Open a session on a GPU; there is no fall-back to the CPU.

    Parameters
    ----------
    graph : bytes
        Serialised ONNX model.
    options : onnxruntime.SessionOptions
    ordinal : int
        CUDA's index of the GPU.

    Raises
    ------
    BackendUnavailableError
        This onnxruntime has no CUDA, or CUDA does not start: no driver, one that is too old, no
        such GPU, no cuDNN.
    EngineLoadError
        ``graph`` is damaged or unsupported.

    References
    ----------
    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
    """
    ort = load_onnxruntime()
    require_cuda_provider()
    if driver_cuda() is None:
        raise BackendUnavailableError(
            "This machine has no NVIDIA driver.",
            hint="Install NVIDIA's current driver, or take the backend onnxruntime-cpu.",
        )
    provider = (
        PROVIDER,
        {
            "device_id": str(ordinal),
            # The default, EXHAUSTIVE, times every algorithm of cuDNN at each new batch size, and
            # faces come in any number.
            "cudnn_conv_algo_search": "HEURISTIC",
        },
    )
    with stdout_to_stderr():
        # Finds CUDA and cuDNN where pip installed them; since ONNX Runtime 1.21.
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        try:
            session = ort.InferenceSession(
                graph, options, providers=[provider], enable_fallback=False
            )
        except Exception as error:
            raise _failure(ort, error) from error
    if PROVIDER not in session.get_providers():
        raise BackendUnavailableError(
            f"onnxruntime-gpu {ort.__version__} could not start its CUDA provider: CUDA or "
            "cuDNN is missing.",
            hint="Run: pip install 'onnxruntime-gpu[cuda,cudnn]'",
        )
    return session


def _failure(ort: Any, error: Exception) -> BackendUnavailableError | EngineLoadError:
    package = f"onnxruntime-gpu {ort.__version__}"
    if is_old_driver(str(error)):
        cuda = cuda_of(ort)
        return old_driver(package, cuda, None if cuda == 12 else _LAST_FOR_CUDA_12)
    if "invalid device id" in str(error).lower():
        return BackendUnavailableError(
            "ONNX Runtime finds no such GPU on this machine.", hint="See them with nvidia-smi."
        )
    failures = _FAILURE.findall(str(error))
    if failures:
        library, number, text = failures[-1]
        return BackendUnavailableError(
            f"{package} cannot start on the GPU: {text} ({library} {number}).",
            hint="Check the GPU with nvidia-smi, or take the backend onnxruntime-cpu.",
        )
    return EngineLoadError(
        f"ONNX Runtime {ort.__version__} cannot load this graph: {reason(error)}.",
        hint="Export the model again, or update onnxruntime if it is older than the graph.",
    )
