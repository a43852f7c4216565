"""Functions that run on the GPU."""

import ctypes
from typing import Any

import numpy as np

from fer_edge.engines.cuda.device import Device
from fer_edge.engines.cuda.driver import Driver
from fer_edge.engines.cuda.stream import Stream

Number = np.uint64 | np.int32 | np.uint32 | np.float32
"""What a kernel takes: addresses and numbers, of the type that its source names."""


class Module:
    """Compiled functions, which stay loaded until the process ends.

    Made inside ``with device``.

    Parameters
    ----------
    device : Device
    image : bytes
        PTX, which the driver compiles for the GPU and keeps, or a cubin.

    Raises
    ------
    EngineError
        The driver is too old for the PTX, or refuses it.
    """

    def __init__(self, device: Device, image: bytes) -> None:
        self._driver = device.driver
        # PTX is text, whose end the driver finds by a zero.
        self._module = self._driver.call("cuModuleLoadData", image + b"\0")

    def kernel(self, name: str) -> "Kernel":
        """One of them; inside ``with device``."""
        function = self._driver.call("cuModuleGetFunction", self._module, name.encode())
        return Kernel(self._driver, function, self)


class Kernel:
    """A function that runs on the GPU, launched inside ``with device``."""

    def __init__(self, driver: Driver, function: Any, module: Module) -> None:
        self._driver, self._function = driver, function
        # PyCUDA unloads a module that nobody has.
        self._module = module

    def launch(
        self,
        stream: Stream,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        *arguments: Number,
    ) -> None:
        """Queue it on ``stream``."""
        values = [np.array(argument) for argument in arguments]
        addresses = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        # PyCUDA takes the values; the driver copies from where the addresses point to.
        given: Any = arguments
        if self._driver.package != "pycuda":
            given = ctypes.addressof(addresses)
        self._driver.call(
            "cuLaunchKernel", self._function, *grid, *block, 0, stream.handle, given, 0
        )
