"""A GPU, and what it holds for its owner."""

import contextlib
import functools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fer_edge.engines.cuda.driver import DEVICE_HINT, Driver, driver
from fer_edge.errors import BackendUnavailableError, EngineError

LEGACY_STREAM = 1
"""CU_STREAM_LEGACY: the default stream, which waits for all streams but non-blocking ones."""


@dataclass(frozen=True)
class GpuDescription:
    """What tells one GPU from another where engines are concerned."""

    name: str
    """As its vendor gives it, for example ``"NVIDIA H100 80GB HBM3"``; Jetson modules of one
    generation share theirs (``"Orin"``)."""
    capability: tuple[int, int]
    multiprocessors: int
    memory: int
    """In bytes."""
    driver: str
    """Newest CUDA that the driver runs, for example ``"12.6"``."""

    def __str__(self) -> str:
        return described(self.name, ".".join(map(str, self.capability)), self.multiprocessors)


def described(name: str, capability: str | None, multiprocessors: int | None) -> str:
    """Name a GPU in a sentence: ``Orin (8.7, 16 multiprocessors)``; what is None is left out."""
    known = [capability] if capability else []
    known += [f"{multiprocessors} multiprocessors"] if multiprocessors else []
    return f"{name} ({', '.join(known)})" if known else name


def require_cuda(device: int = 0) -> None:
    """Raise BackendUnavailableError unless there is a driver and this GPU."""
    count = driver().call("cuDeviceGetCount")
    if count == 0:
        raise BackendUnavailableError("This machine has no NVIDIA GPU.", hint=DEVICE_HINT)
    if not 0 <= device < count:
        raise BackendUnavailableError(
            f"This machine has no cuda:{device}: its last GPU is cuda:{count - 1}.",
            hint=DEVICE_HINT,
        )


def cuda_available() -> tuple[bool, str]:
    """Whether a GPU can be used, and if not, why and what to do."""
    try:
        require_cuda()
    except BackendUnavailableError as error:
        return False, str(error)
    return True, ""


def device_name(device: int = 0) -> str:
    """Name of a GPU as its vendor gives it, for example ``"NVIDIA H100 80GB HBM3"``."""
    cu = driver()
    name: bytes = cu.call("cuDeviceGetName", 256, cu.call("cuDeviceGet", device))
    return name.rstrip(b"\0").decode()


def compute_capability(device: int = 0) -> tuple[int, int]:
    """Major and minor compute capability of a GPU, for example ``(8, 7)`` for Orin."""
    cu = driver()
    return cu.call("cuDeviceComputeCapability", cu.call("cuDeviceGet", device))


def describe_gpu(device: int = 0) -> GpuDescription:
    """Describe a GPU; errors are those of :func:`require_cuda`."""
    require_cuda(device)
    cu = driver()
    handle = cu.call("cuDeviceGet", device)
    version = cu.call("cuDriverGetVersion")
    return GpuDescription(
        name=device_name(device),
        capability=compute_capability(device),
        multiprocessors=cu.call("cuDeviceGetAttribute", _multiprocessor_count(cu), handle),
        memory=cu.call("cuDeviceTotalMem", handle),
        driver=f"{version // 1000}.{version % 1000 // 10}",
    )


def _multiprocessor_count(cu: Driver) -> Any:
    if cu.package == "pycuda":
        return cu.module.device_attribute.MULTIPROCESSOR_COUNT
    return cu.module.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT


class Device:
    """A GPU, whose primary context is the calling thread's current one inside ``with``.

    Any thread may enter, and leaves with the context that it came with. The primary context is the
    one of torch, TensorRT and the CUDA runtime; as by that, it is kept until the process ends.
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self.driver = driver()
        self._context = _primary_context(self.driver, index)

    def __enter__(self) -> "Device":
        self.driver.require_usable()
        self.driver.call("cuCtxPushCurrent", self._context)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.driver.call("cuCtxPopCurrent")
        except EngineError:
            # After a lost context this fails, too, and would hide the error that tells.
            if kind is None:
                raise

    @contextlib.contextmanager
    def closing(self) -> Iterator[None]:
        """The context if it can still be had; no CUDA error comes out."""
        with contextlib.suppress(EngineError), contextlib.ExitStack() as stack:
            with contextlib.suppress(EngineError):
                stack.enter_context(self)
            yield

    def index_of(self, pointer: int) -> int | None:
        """Index of the GPU that an address is on; None as PyCUDA cannot tell."""
        if self.driver.package == "pycuda":
            return None
        kind = self.driver.module.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return self.driver.call("cuPointerGetAttribute", kind, pointer)

    def wait_for(self, stream: int) -> None:
        """Wait for what another library has queued on its stream of that address."""
        self.driver.wait(stream)


@functools.cache
def _primary_context(driver: Driver, index: int) -> Any:
    return driver.call("cuDevicePrimaryCtxRetain", driver.call("cuDeviceGet", index))


class Resource:
    """Made and used inside ``with device``; freed anywhere, by hand or by garbage collection.

    What is left when the process ends is the driver's to free: a daemon thread may still use it.
    """

    def __init__(self, device: Device, handle: Any, destroy: str) -> None:
        self._device, self._call = device, device.driver.call
        self._held = [handle]
        self.free = weakref.finalize(self, _free, device, destroy, self._held)
        self.free.atexit = False

    @property
    def handle(self) -> Any:
        """The driver's handle."""
        if not self._held:
            raise EngineError(f"This {type(self).__name__} is freed.", hint="Make another.")
        return self._held[0]


def _free(device: Device, destroy: str, held: list[Any]) -> None:
    # After a lost context the error would repeat, and hide, the one that was reported first.
    with contextlib.suppress(EngineError), device:
        device.driver.call(destroy, held.pop())
