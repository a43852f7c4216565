"""The one place that knows which Python module a TensorRT backend is, and the log of both."""

import functools
import importlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, get_args

from fer_edge.contract import Precision
from fer_edge.engines.old_driver import is_old_driver, old_driver, package_cuda
from fer_edge.engines.signature import Tensor
from fer_edge.errors import BackendUnavailableError, EngineError, UsageError

TensorRTBackend = Literal["tensorrt", "tensorrt-rtx"]
TENSORRT_BACKENDS: Final[tuple[TensorRTBackend, ...]] = get_args(TensorRTBackend)

_EXTRAS: Final[dict[TensorRTBackend, str]] = {"tensorrt": "tensorrt", "tensorrt-rtx": "rtx"}
PREFERENCE: Final[dict[TensorRTBackend, tuple[Precision, ...]]] = {
    "tensorrt": ("int8", "fp8", "fp16", "fp32"),
    "tensorrt-rtx": ("fp16", "int8", "fp8", "fp32"),
}
"""Precisions of engines in the order in which "auto" takes them.

NVIDIA lists INT8 for TensorRT-RTX as "WoQ GEMM", quantised weights of matrix products; INT8
convolutions may gain nothing there, or lose. Nobody has measured it here: bench/gpu.py does.
https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/getting-started/support-matrix-1/1.5.html
"""

_HINTS = {
    "tensorrt": "Run: pip install 'fer-edge[tensorrt]' (on Jetson, TensorRT comes with JetPack: "
    "make the environment with python -m venv --system-site-packages)",
    "tensorrt-rtx": "Run: pip install 'fer-edge[rtx]'",
}
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}


def load_module(backend: TensorRTBackend) -> Any:
    """Import ``tensorrt`` or ``tensorrt_rtx``.

    Raises
    ------
    UsageError
        ``backend`` is neither.
    BackendUnavailableError
        The module is not installed, or cannot find its libraries.
    """
    if backend not in TENSORRT_BACKENDS:
        raise UsageError(f"{backend!r} is not a TensorRT backend: {', '.join(TENSORRT_BACKENDS)}.")
    name = backend.replace("-", "_")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendUnavailableError(
            f"{name} cannot be imported: {error}.", hint=_HINTS[backend]
        ) from error


def module_version(backend: TensorRTBackend) -> str:
    """Full version of the installed module; an engine runs on the very version that built it.

    https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/engine-compatibility.html
    """
    return str(load_module(backend).__version__)


class Log:
    """What TensorRT reports, handed to whoever is collecting.

    Use the one of :func:`log_of`: TensorRT keeps a pointer to the first logger that it is given.
    """

    def __init__(self, trt: Any) -> None:
        self._collectors: list[list[str]] = []
        self._lock = threading.Lock()
        self.logger = self._make_logger(trt)

    @contextmanager
    def collect(self) -> Iterator[list[str]]:
        """Gather the errors that TensorRT reports inside the block, from any of its threads."""
        errors: list[str] = []
        with self._lock:
            self._collectors.append(errors)
        try:
            yield errors
        finally:
            with self._lock:
                self._collectors = [kept for kept in self._collectors if kept is not errors]

    def _make_logger(self, trt: Any) -> Any:
        wanted = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self, log: "Log") -> None:
                trt.ILogger.__init__(self)
                self._log = log

            def log(self, severity: Any, msg: str) -> None:
                if severity in wanted:
                    self._log.add(msg)

        return Logger(self)

    def add(self, message: str) -> None:
        """Hand one message to all collectors."""
        with self._lock:
            for collected in self._collectors:
                collected.append(message)


_first = threading.Lock()


def log_of(backend: TensorRTBackend) -> Log:
    """The log of a backend, one for the life of the process."""
    with _first:  # functools.cache lets threads that come together make one each
        return _log_of(backend)


@functools.cache
def _log_of(backend: TensorRTBackend) -> Log:
    return Log(load_module(backend))


def start(kind: Literal["Builder", "Runtime"], backend: TensorRTBackend) -> Any:
    """Make TensorRT's builder or runtime, which start CUDA.

    Raises
    ------
    BackendUnavailableError
        TensorRT could not start, for want of a driver that is new enough, say.
    """
    log = log_of(backend)
    with log.collect() as errors:
        try:
            return getattr(load_module(backend), kind)(log.logger)
        # pybind11's "factory function returned nullptr".
        except TypeError as error:
            raise start_error(backend, errors) from error


def start_error(backend: TensorRTBackend, errors: list[str]) -> BackendUnavailableError:
    """What kept TensorRT from starting CUDA, by what it reported."""
    package = f"{backend} {module_version(backend)}"
    if not is_old_driver(" ".join(errors)):
        return BackendUnavailableError(
            f"{package} cannot start: {cause(errors)}.", hint="Check the driver with nvidia-smi."
        )
    version = package_cuda(backend)
    return old_driver(package, version, _for_cuda_12(backend) if version == 13 else None)


def _for_cuda_12(backend: TensorRTBackend) -> str:
    # The flavours share their folders: one that goes later takes the other's files along.
    flavour = f"{backend}-cu13"
    installed = f"{backend} {flavour} {flavour}-bindings {flavour}-libs"
    extra = _EXTRAS[backend]
    return f"pip uninstall -y {installed} && pip install 'fer-edge[{extra}-cu12]'"


@contextmanager
def raised_as(kind: type[EngineError]) -> Iterator[None]:
    """Raise CUDA's errors as ``kind``, by which a caller knows what was under way."""
    try:
        yield
    except (BackendUnavailableError, kind):
        raise
    except EngineError as error:
        raise kind(error.message, hint=error.hint) from error


def cause(errors: list[str]) -> str:
    """The first error, which is the cause of the rest, without its place in TensorRT's sources."""
    if not errors:
        return "it gave no reason"
    text = " ".join(errors[0].split())
    # IBuilder::buildSerializedNetwork: Error Code 1: Myelin (reason. In compileGraph at /f.cpp:12)
    text = re.sub(r"^.*?Error Code \d+: ([^(]*\S) ?\((.*)\)$", r"\1: \2", text)
    text = re.sub(r"\.?\s*\bIn [\w() ]+ at /\S+?:\d+", "", text)
    return text.rstrip(".")


def describe_tensor(name: str, dtype: Any, shape: Any) -> Tensor:
    """The signature of a network's or engine's input or output; -1 is TensorRT's dynamic size."""
    sizes = tuple(None if size < 0 else int(size) for size in shape)
    return Tensor(name, _DTYPES.get(dtype.name, dtype.name.lower()), sizes)
