"""What the GPU does, and in which order."""

import contextlib
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from fer_edge.engines.cuda.device import Device, Resource
from fer_edge.engines.cuda.memory import DeviceBuffer
from fer_edge.errors import EngineError

_NON_BLOCKING, _DISABLE_TIMING = 1, 2
"""CU_STREAM_NON_BLOCKING, which PyCUDA has no name for, and CU_EVENT_DISABLE_TIMING."""


class Stream(Resource):
    """A CUDA stream that does not wait for the default stream."""

    def __init__(self, device: Device) -> None:
        stream = device.driver.call("cuStreamCreate", _NON_BLOCKING)
        super().__init__(device, stream, "cuStreamDestroy")
        self.address = int(getattr(stream, "handle", stream))

    def upload(self, source: NDArray[Any], target: DeviceBuffer) -> None:
        """Queue a copy of a contiguous view of pinned memory to the GPU."""
        self._call("cuMemcpyHtoDAsync", target.pointer, source, source.nbytes, self.handle)

    def download(self, source: DeviceBuffer, target: NDArray[Any]) -> None:
        """Queue a copy from the GPU into a contiguous view of pinned memory."""
        self._call("cuMemcpyDtoHAsync", target, source.pointer, target.nbytes, self.handle)

    def wait(self, event: "Event") -> None:
        """Let what is queued from now on wait for what ``event`` recorded last, if anything."""
        self._call("cuStreamWaitEvent", self.handle, event.handle, 0)

    def synchronize(self) -> None:
        """Wait for all that was queued; errors of kernels come out here."""
        self._call("cuStreamSynchronize", self.handle)


class Event(Resource):
    """A point in a stream that another one can wait for."""

    def __init__(self, device: Device) -> None:
        super().__init__(
            device, device.driver.call("cuEventCreate", _DISABLE_TIMING), "cuEventDestroy"
        )

    def record(self, stream: Stream) -> None:
        """Make it the end of what is queued on ``stream``."""
        self._call("cuEventRecord", self.handle, stream.handle)


class Graph(Resource):
    """What ``work`` queues on ``stream``, captured instead of run, to be launched in one call.

    Raises
    ------
    EngineError
        It cannot be captured. After this, and after what ``work`` raises, the stream is as before.
    """

    def __init__(self, device: Device, stream: Stream, work: Callable[[], None]) -> None:
        if device.driver.package == "pycuda":
            raise EngineError("PyCUDA has no CUDA graphs.")
        call = device.driver.call
        # In this mode other threads may meanwhile call what cannot be captured.
        modes = device.driver.module.CUstreamCaptureMode
        call("cuStreamBeginCapture", stream.handle, modes.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        with contextlib.ExitStack() as failed:
            failed.callback(_discard, device, stream)
            work()
            failed.pop_all()
        graph = call("cuStreamEndCapture", stream.handle)
        try:
            runnable = call("cuGraphInstantiate", graph, 0)
        finally:
            call("cuGraphDestroy", graph)
        super().__init__(device, runnable, "cuGraphExecDestroy")

    def launch(self, stream: Stream) -> None:
        """Queue it."""
        self._call("cuGraphLaunch", self.handle, stream.handle)


def _discard(device: Device, stream: Stream) -> None:
    with contextlib.suppress(EngineError):  # an invalid capture ends with an error and no graph
        device.driver.call(
            "cuGraphDestroy", device.driver.call("cuStreamEndCapture", stream.handle)
        )
