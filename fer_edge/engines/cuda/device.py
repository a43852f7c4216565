"""A GPU, and what it holds for its owner."""

import contextlib
import functools
import weakref
from typing import Any

from fer_edge.engines.cuda.driver import DEVICE_HINT, Driver, driver
from fer_edge.errors import BackendUnavailableError, EngineError


def require_cuda() -> None:
    """Raise BackendUnavailableError unless there is a driver and a GPU."""
    if driver().call("cuDeviceGetCount") == 0:
        raise BackendUnavailableError("This machine has no NVIDIA GPU.", hint=DEVICE_HINT)


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
        self.driver.call("cuCtxPushCurrent", self._context)
        return self

    def __exit__(self, *exc: object) -> None:
        self.driver.call("cuCtxPopCurrent")

    def index_of(self, pointer: int) -> int | None:
        """Index of the GPU that an address is on; None as PyCUDA cannot tell."""
        if self.driver.package == "pycuda":
            return None
        kind = self.driver.module.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return self.driver.call("cuPointerGetAttribute", kind, pointer)

    def wait_for(self, stream: int) -> None:
        """Wait for what another library has queued on its stream of that address."""
        self.driver.call("cuStreamSynchronize", stream)


@functools.cache
def _primary_context(driver: Driver, index: int) -> Any:
    return driver.call("cuDevicePrimaryCtxRetain", driver.call("cuDeviceGet", index))


class Resource:
    """Made and used inside ``with device``; freed anywhere, by hand or by garbage collection."""

    def __init__(self, device: Device, handle: Any, destroy: str) -> None:
        self._device, self._call = device, device.driver.call
        self._held = [handle]
        self.free = weakref.finalize(self, _free, device, destroy, self._held)

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
