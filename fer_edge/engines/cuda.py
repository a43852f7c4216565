"""A thin layer over the CUDA runtime: memory, a stream, and errors that say what to do.

Names and behaviour are those of the CUDA Runtime API,
https://docs.nvidia.com/cuda/cuda-runtime-api, as ``cuda.bindings.runtime`` gives it.
"""

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fer_edge.errors import BackendUnavailableError, EngineError

_NO_GPU = {
    "cudaErrorNoDevice": "This machine has no NVIDIA GPU that CUDA can see.",
    "cudaErrorDevicesUnavailable": "The GPU is in use by another process in exclusive mode.",
    "cudaErrorInitializationError": "The NVIDIA driver did not start.",
    "cudaErrorSystemDriverMismatch": "The NVIDIA driver and its libraries differ in version.",
    "cudaErrorStubLibrary": "The libcuda.so in use is a stub for building, not the driver's.",
}
_NO_DRIVER = "This machine has no NVIDIA driver."
_DRIVER_HINT = "Install the NVIDIA driver, or take the backend onnxruntime-cpu."
_DEVICE_HINT = "Check the GPU with nvidia-smi, or take the backend onnxruntime-cpu."


def runtime() -> Any:
    """The module ``cuda.bindings.runtime``; importing it takes 60 ms.

    Raises
    ------
    BackendUnavailableError
        cuda-bindings is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendUnavailableError(
            f"cuda-bindings cannot be imported: {error}.",
            hint="Run: pip install 'fer-edge[rtx]' or, for TensorRT, 'fer-edge[tensorrt]'",
        ) from error
    return runtime


def call(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of :func:`runtime` and return its values, as :func:`check` does."""
    try:
        result = function(*args)
    except RuntimeError as error:
        # How cuda-bindings 12 meets a machine without a driver: "Failed to dlopen libcuda.so.1" at
        # the first call, 'Function "cuInit" not found' at later ones. 13 returns an error code.
        raise BackendUnavailableError(_NO_DRIVER, hint=_DRIVER_HINT) from error
    return check(result)


def check(result: tuple[Any, ...]) -> Any:
    """Return what a call of cuda-bindings gave beside its error code: None, a value or a tuple.

    Raises
    ------
    BackendUnavailableError
        There is no driver or no GPU, or the driver is too old.
    EngineError
        Any other CUDA error, with its name and text.
    """
    error, *values = result
    if int(error) != 0:
        raise _translated(error)
    return values[0] if len(values) == 1 else tuple(values) or None


def _translated(error: Any) -> EngineError:
    rt = runtime()
    name = error.name
    if name == "cudaErrorInsufficientDriver":
        _, supported = rt.cudaDriverGetVersion()
        if supported == 0:
            return BackendUnavailableError(_NO_DRIVER, hint=_DRIVER_HINT)
        return BackendUnavailableError(
            f"The NVIDIA driver is too old: it supports CUDA {_version(supported)}.",
            hint=f"Update the driver, or run: pip install 'cuda-bindings=={supported // 1000}.*'",
        )
    if name in _NO_GPU:
        return BackendUnavailableError(_NO_GPU[name], hint=_DEVICE_HINT)
    if name == "cudaErrorMemoryAllocation":
        return EngineError(
            "The GPU is out of memory.", hint="Free some, or build with a smaller --batch."
        )
    text = rt.cudaGetErrorString(error)[1].decode()
    return EngineError(
        f"CUDA failed with {name}: {text}.",
        hint="Start the process again; if it recurs, check the GPU with nvidia-smi.",
    )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def cuda_available() -> tuple[bool, str]:
    """Whether a GPU can be used, and if not, why and what to do."""
    try:
        require_cuda()
    except BackendUnavailableError as error:
        return False, str(error)
    return True, ""


def require_cuda() -> None:
    """Raise BackendUnavailableError unless there is a driver and a GPU."""
    rt = runtime()
    if call(rt.cudaGetDeviceCount) == 0:
        raise BackendUnavailableError(_NO_GPU["cudaErrorNoDevice"], hint=_DEVICE_HINT)


def use_device(device: int) -> None:
    """Make ``device`` the current GPU of the calling thread."""
    call(runtime().cudaSetDevice, device)


def device_name(device: int = 0) -> str:
    """Name of a GPU as its vendor gives it, for example ``"NVIDIA H100 80GB HBM3"``."""
    rt = runtime()
    name: bytes = call(rt.cudaGetDeviceProperties, device).name
    return name.rstrip(b"\0").decode()


def compute_capability(device: int = 0) -> tuple[int, int]:
    """Major and minor compute capability of a GPU, for example ``(8, 7)`` for Orin."""
    properties = call(runtime().cudaGetDeviceProperties, device)
    return properties.major, properties.minor


class DeviceBuffer:
    """Bytes of GPU memory at the address ``pointer``, until :meth:`free` or garbage collection."""

    def __init__(self, nbytes: int) -> None:
        rt = runtime()
        self.pointer = int(call(rt.cudaMalloc, nbytes))
        self.free = _releaser(self, rt.cudaFree, self.pointer)


class PinnedBuffer:
    """Page-locked host memory, which the GPU copies asynchronously; ``array`` is a view of it.

    The view must not outlive the buffer.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        rt = runtime()
        kind = np.dtype(dtype)
        nbytes = int(np.prod(shape)) * kind.itemsize
        self.pointer = int(call(rt.cudaHostAlloc, nbytes, rt.cudaHostAllocDefault))
        self.free = _releaser(self, rt.cudaFreeHost, self.pointer)
        memory = (ctypes.c_byte * nbytes).from_address(self.pointer)
        self.array: NDArray[Any] = np.frombuffer(memoryview(memory), kind).reshape(shape)


class Stream:
    """A CUDA stream that does not wait for the default stream."""

    def __init__(self) -> None:
        rt = runtime()
        stream = call(rt.cudaStreamCreateWithFlags, rt.cudaStreamNonBlocking)
        self.handle = int(stream)
        self.free = _releaser(self, rt.cudaStreamDestroy, stream)

    def upload(self, source: NDArray[Any], target: DeviceBuffer) -> None:
        """Queue a copy of a view of pinned memory to the GPU."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(target.pointer, source.ctypes.data, source.nbytes, kind)

    def download(self, source: DeviceBuffer, target: NDArray[Any]) -> None:
        """Queue a copy from the GPU into a view of pinned memory."""
        kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(target.ctypes.data, source.pointer, target.nbytes, kind)

    def synchronize(self) -> None:
        """Wait for all that was queued; errors of kernels come out here."""
        call(runtime().cudaStreamSynchronize, self.handle)

    def _copy(self, target: int, source: int, nbytes: int, kind: Any) -> None:
        call(runtime().cudaMemcpyAsync, target, source, nbytes, kind, self.handle)


def _releaser(owner: object, function: Callable[[Any], Any], resource: Any) -> Callable[[], Any]:
    # At most once, by hand or when the owner goes. Its error is dropped: after a lost context it
    # would repeat, and hide, the one that was reported first.
    return weakref.finalize(owner, function, resource)
