"""What the GPU does, and in which order."""

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
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

    def copy(self, source: int, target: int, nbytes: int) -> None:
        """Queue a copy from an address to another on the same GPU."""
        self._call("cuMemcpyDtoDAsync", target, source, nbytes, self.handle)

    def wait(self, event: "Event") -> None:
        """Let what is queued from now on wait for what ``event`` recorded last, if anything."""
        self._call("cuStreamWaitEvent", self.handle, event.handle, 0)

    def synchronize(self) -> None:
        """Wait for all that was queued, while other threads run; kernels' errors come out here."""
        self._device.driver.wait(self.handle)


class Event(Resource):
    """A point in a stream that another one can wait for; ``timed`` ones tell when it passed."""

    def __init__(self, device: Device, *, timed: bool = False) -> None:
        flags = 0 if timed else _DISABLE_TIMING
        super().__init__(device, device.driver.call("cuEventCreate", flags), "cuEventDestroy")

    def record(self, stream: Stream) -> None:
        """Make it the end of what is queued on ``stream``."""
        self._call("cuEventRecord", self.handle, stream.handle)

    def since(self, earlier: "Event") -> float:
        """Milliseconds on the GPU between two timed events that have passed."""
        return float(self._call("cuEventElapsedTime", earlier.handle, self.handle))


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
        with _no_collection():
            graph = self._capture(device, stream, work)
        try:
            runnable = call("cuGraphInstantiate", graph, 0)
        finally:
            call("cuGraphDestroy", graph)
        super().__init__(device, runnable, "cuGraphExecDestroy")

    @staticmethod
    def _capture(device: Device, stream: Stream, work: Callable[[], None]) -> Any:
        call = device.driver.call
        # In this mode other threads may meanwhile call what cannot be captured.
        modes = device.driver.module.CUstreamCaptureMode
        call("cuStreamBeginCapture", stream.handle, modes.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        with contextlib.ExitStack() as failed:
            failed.callback(_discard, device, stream)
            work()
            failed.pop_all()
        return call("cuStreamEndCapture", stream.handle)

    def launch(self, stream: Stream) -> None:
        """Queue it."""
        self._call("cuGraphLaunch", self.handle, stream.handle)


_one_capture = threading.Lock()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from freeing GPU memory, anybody's, on a thread that captures.

    That cannot be captured, and the driver then gives the capture up.
    """
    with _one_capture:
        enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if enabled:
                gc.enable()


def _discard(device: Device, stream: Stream) -> None:
    with contextlib.suppress(EngineError):  # an invalid capture ends with an error and no graph
        device.driver.call(
            "cuGraphDestroy", device.driver.call("cuStreamEndCapture", stream.handle)
        )
