"""The CUDA driver through cuda-bindings or PyCUDA, and its errors."""

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

from fer_edge.engines.cuda.pycuda import pycuda_functions
from fer_edge.engines.cuda.waiting import load_waiting
from fer_edge.errors import (
    BackendUnavailableError,
    EngineError,
    MissingDependencyError,
    UsageError,
)

VARIABLE = "FER_EDGE_CUDA"
"""Environment variable that names the package to take; by default cuda.bindings."""

_HINTS = {
    "cuda.bindings": "Run: pip install 'fer-edge[rtx]' or, for TensorRT, 'fer-edge[tensorrt]'",
    "pycuda": "Run: pip install 'fer-edge[pycuda]'",
}
DEVICE_HINT = "Check the GPU with nvidia-smi, or take the backend onnxruntime-cpu."
STICKY = (
    "an illegal memory access was encountered",
    "the launch timed out and was terminated",
    "device-side assert triggered",
    "hardware stack error",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",
    "invalid program counter",
    "unspecified launch failure",
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error detected during the execution",
)
"""Errors after which every call fails until the process ends, by the driver's text, which is what
both packages give. https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html"""


class Driver:
    """Calls functions of the driver API by name, once it has been started."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.module: Any = importlib.import_module(f"{package}.driver")
        self._pycuda = pycuda_functions(self.module) if package == "pycuda" else None
        self._process = os.getpid()
        self._lost: str | None = None
        self.call("cuInit", 0)

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the one that started CUDA."""
        return os.getpid() != self._process

    def require_usable(self) -> None:
        """Raise unless calls can still succeed in this process.

        Raises
        ------
        BackendUnavailableError
            The process was forked from one in which CUDA had been started.
        EngineError
            An earlier error took the GPU away from this process; the message is that error's.
        """
        if self.forked:
            raise BackendUnavailableError(
                "CUDA was started before this process was forked, and does not work in it.",
                hint="Open engines in the new process only, or start it with multiprocessing's "
                "spawn.",
            )
        if self._lost is not None:
            raise self._gone()

    def call(self, name: str, *args: Any) -> Any:
        """Return what the function gives beside its error code: None, a value or a tuple.

        Raises
        ------
        BackendUnavailableError
            There is no driver or no GPU, the driver is too old, or this process was forked.
        EngineError
            Any other CUDA error, with its text; once the GPU is lost, the error that lost it.
        """
        if self.forked:
            self.require_usable()
        try:
            if self._pycuda is not None:
                return self._pycuda[name](*args)
            error, *values = getattr(self.module, name)(*args)
        except RuntimeError as missing:  # libcuda.so.1, or a function of it
            problem = "has no NVIDIA driver" if name == "cuInit" else f"needs a driver with {name}"
            hint = "Install NVIDIA's current driver, or take the backend onnxruntime-cpu."
            raise BackendUnavailableError(f"This machine {problem}.", hint=hint) from missing
        except getattr(self.module, "Error", ()) as failed:  # "cuMemAlloc failed: out of memory"
            raise self._failure(name, str(failed).partition(" failed: ")[2]) from failed
        if int(error):
            raise self._failure(name, self._text(error))
        return values[0] if len(values) == 1 else tuple(values) or None

    def wait(self, stream: Any) -> None:
        """``cuStreamSynchronize`` during which other threads of Python run.

        cuda-bindings up to 12.9.0 keep the interpreter's lock while they wait
        (tests/engines/cuda/waiting.json), which would stop cameras and web pages.
        """
        if self._pycuda is not None:
            self.call("cuStreamSynchronize", stream)
            return
        self.require_usable()
        error = self._waiting(int(stream))
        if error:
            raise self._failure("cuStreamSynchronize", self._text(self.module.CUresult(error)))

    @functools.cached_property
    def _waiting(self) -> Callable[[int], int]:
        return load_waiting()

    def _text(self, error: Any) -> str:
        text: bytes = self.module.cuGetErrorString(error)[1]
        return text.decode()

    def _failure(self, name: str, text: str) -> EngineError:
        if name == "cuInit":
            return BackendUnavailableError(f"CUDA cannot start: {text}.", hint=DEVICE_HINT)
        if self._lost is not None:
            return self._gone()
        if text in STICKY:
            self._lost = f"CUDA failed in {name}: {text}."
            return self._gone()
        if text == "out of memory":
            hint = "Free some, or build with a smaller --batch."
            return EngineError("The GPU is out of memory.", hint=hint)
        hint = "Start the process again; if it recurs, check the GPU with nvidia-smi."
        return EngineError(f"CUDA failed in {name}: {text}.", hint=hint)

    def _gone(self) -> EngineError:
        return EngineError(
            str(self._lost),
            hint="The GPU takes nothing more from this process: start it again; if it recurs, "
            "check the GPU with nvidia-smi.",
        )


def driver() -> Driver:
    """The driver; importing its package takes 60 ms.

    Raises
    ------
    UsageError, MissingDependencyError
        :data:`VARIABLE` names no such package, or one that cannot be imported.
    BackendUnavailableError
        It is not set and cuda-bindings cannot be imported, or no driver starts.
    """
    wanted = os.environ.get(VARIABLE)
    name = wanted or "cuda.bindings"
    if name not in _HINTS:
        raise UsageError(f"{VARIABLE} is {name!r}.", hint=f"Set it to {' or '.join(_HINTS)}.")
    try:
        return _start(name)
    except ImportError as error:
        # Not BackendUnavailableError, which "auto" passes over: what was asked for is not replaced.
        kind = MissingDependencyError if wanted else BackendUnavailableError
        raise kind(f"{name} cannot be imported: {error}.", hint=_HINTS[name]) from error


_start = functools.cache(Driver)
