"""A thin layer over the CUDA driver: device, memory, stream, event, graph and kernel.

It speaks through cuda-bindings, or through PyCUDA where the environment variable ``FER_EDGE_CUDA``
is ``pycuda``. Names and behaviour are the driver's, https://docs.nvidia.com/cuda/cuda-driver-api.
"""

from fer_edge.engines.cuda.device import (
    LEGACY_STREAM,
    Device,
    GpuDescription,
    compute_capability,
    cuda_available,
    describe_gpu,
    described,
    device_name,
    require_cuda,
)
from fer_edge.engines.cuda.kernel import Kernel, Module
from fer_edge.engines.cuda.memory import DeviceBuffer, PinnedBuffer
from fer_edge.engines.cuda.stream import Event, Graph, Stream
from fer_edge.engines.cuda.uploads import Sent, Uploads

__all__ = [
    "LEGACY_STREAM",
    "Device",
    "DeviceBuffer",
    "Event",
    "GpuDescription",
    "Graph",
    "Kernel",
    "Module",
    "PinnedBuffer",
    "Sent",
    "Stream",
    "Uploads",
    "compute_capability",
    "cuda_available",
    "describe_gpu",
    "described",
    "device_name",
    "require_cuda",
]
