"""Memory of the GPU, and of the host where the GPU reaches it."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fer_edge.engines.cuda.device import Device, Resource


class DeviceBuffer(Resource):
    """Bytes of GPU memory at the address ``pointer``."""

    def __init__(self, device: Device, nbytes: int) -> None:
        super().__init__(device, device.driver.call("cuMemAlloc", nbytes), "cuMemFree")

    @property
    def pointer(self) -> int:
        return int(self.handle)


class PinnedBuffer(Resource):
    """Page-locked host memory, which the GPU copies asynchronously; ``array`` is a view of it.

    The view must not outlive the buffer.
    """

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = device.driver.call("cuMemHostAlloc", nbytes, 0)
        super().__init__(device, memory, "cuMemFreeHost")
        if not isinstance(memory, np.ndarray):  # PyCUDA's is one
            view = memoryview((ctypes.c_uint8 * nbytes).from_address(int(memory)))
            memory = np.frombuffer(view, np.uint8)
        self.array: NDArray[Any] = memory.view(dtype).reshape(shape)
