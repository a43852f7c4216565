"""The functions of the driver API that the layer calls, as PyCUDA has them.

https://documen.tician.de/pycuda/driver.html. It has no graphs and no pointer queries.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def pycuda_functions(cu: Any) -> dict[str, Callable[..., Any]]:
    """From the module ``pycuda.driver``; errors are its exceptions, handles its objects."""

    def synchronize(stream: Any) -> None:
        # PyCUDA takes no stream of another library: then wait for all of them.
        (cu.Context if isinstance(stream, int) else stream).synchronize()

    def launch(function: Any, *shape: Any) -> None:
        *sizes, shared, stream, arguments, _ = shape
        grid, block = tuple(sizes[:3]), tuple(sizes[3:])
        function(*arguments, grid=grid, block=block, shared=shared, stream=stream)

    return {
        "cuInit": cu.init,
        "cuDeviceGetCount": cu.Device.count,
        "cuDeviceGet": cu.Device,
        "cuDeviceGetName": lambda _, device: device.name().encode(),
        "cuDriverGetVersion": cu.get_driver_version,
        "cuDeviceGetAttribute": lambda attribute, device: device.get_attribute(attribute),
        "cuDeviceTotalMem": lambda device: device.total_memory(),
        "cuDeviceComputeCapability": lambda device: device.compute_capability(),
        "cuDevicePrimaryCtxRetain": lambda device: device.retain_primary_context(),
        "cuCtxPushCurrent": lambda context: context.push(),
        "cuCtxPopCurrent": cu.Context.pop,
        "cuMemAlloc": cu.mem_alloc,
        "cuMemFree": lambda memory: memory.free(),
        "cuMemHostAlloc": lambda nbytes, _: cu.pagelocked_empty(nbytes, np.uint8),
        "cuMemFreeHost": lambda array: array.base.free(),
        "cuMemcpyHtoDAsync": lambda to, array, _, stream: cu.memcpy_htod_async(to, array, stream),
        "cuMemcpyDtoHAsync": lambda array, of, _, stream: cu.memcpy_dtoh_async(array, of, stream),
        "cuMemcpyDtoDAsync": lambda to, of, nbytes, stream: cu.memcpy_dtod_async(
            to, of, nbytes, stream
        ),
        "cuModuleLoadData": cu.module_from_buffer,
        "cuModuleGetFunction": lambda module, name: module.get_function(name.decode()),
        "cuLaunchKernel": launch,
        "cuStreamCreate": cu.Stream,
        "cuStreamDestroy": lambda _: None,  # streams and events go with their last reference
        "cuStreamSynchronize": synchronize,
        "cuStreamWaitEvent": lambda stream, event, _: stream.wait_for_event(event),
        "cuEventCreate": cu.Event,
        "cuEventDestroy": lambda _: None,
        "cuEventRecord": lambda event, stream: event.record(stream),
        "cuEventElapsedTime": lambda start, end: end.time_since(start),
    }
