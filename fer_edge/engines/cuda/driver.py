"""The CUDA driver through cuda-bindings or PyCUDA, and its errors."""

import functools
import importlib
import os
from typing import Any

from fer_edge.engines.cuda.pycuda import pycuda_functions
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


class Driver:
    """Calls functions of the driver API by name, once it has been started."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.module: Any = importlib.import_module(f"{package}.driver")
        self._pycuda = pycuda_functions(self.module) if package == "pycuda" else None
        self.call("cuInit", 0)

    def call(self, name: str, *args: Any) -> Any:
        """Return what the function gives beside its error code: None, a value or a tuple.

        Raises
        ------
        BackendUnavailableError
            There is no driver or no GPU, or the driver is too old.
        EngineError
            Any other CUDA error, with its text.
        """
        try:
            if self._pycuda is not None:
                return self._pycuda[name](*args)
            error, *values = getattr(self.module, name)(*args)
        except RuntimeError as missing:  # libcuda.so.1, or a function of it
            problem = "has no NVIDIA driver" if name == "cuInit" else f"needs a driver with {name}"
            hint = "Install NVIDIA's current driver, or take the backend onnxruntime-cpu."
            raise BackendUnavailableError(f"This machine {problem}.", hint=hint) from missing
        except getattr(self.module, "Error", ()) as failed:  # "cuMemAlloc failed: out of memory"
            raise _failure(name, str(failed).partition(" failed: ")[2]) from failed
        if int(error):
            raise _failure(name, self.module.cuGetErrorString(error)[1].decode())
        return values[0] if len(values) == 1 else tuple(values) or None


def _failure(name: str, text: str) -> EngineError:
    if name == "cuInit":
        return BackendUnavailableError(f"CUDA cannot start: {text}.", hint=DEVICE_HINT)
    if text == "out of memory":
        hint = "Free some, or build with a smaller --batch."
        return EngineError("The GPU is out of memory.", hint=hint)
    hint = "Start the process again; if it recurs, check the GPU with nvidia-smi."
    return EngineError(f"CUDA failed in {name}: {text}.", hint=hint)


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
