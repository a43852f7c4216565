"""Batches on their way through the GPU."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME, Contract
from fer_edge.engines import cuda
from fer_edge.engines.base import DeviceTimes, Faces, Probabilities
from fer_edge.engines.device_array import DeviceFaces
from fer_edge.engines.tensorrt.contexts import Contexts
from fer_edge.engines.tensorrt.module import Log, cause
from fer_edge.errors import EngineError, EngineLoadError, InferenceError

Owned = TypeVar("Owned", cuda.Stream, cuda.DeviceBuffer, cuda.PinnedBuffer, cuda.Graph)


class Scratch:
    """The memory that contexts of one engine compute in, one at a time, and the order of it.

    https://github.com/NVIDIA/TensorRT/issues/2040
    """

    def __init__(self, device: cuda.Device, engine: Any) -> None:
        self._size: int = engine.device_memory_size_v2
        with ExitStack() as stack:
            self._computed = cuda.Event(device)
            stack.callback(self._computed.free)
            self._memory = cuda.DeviceBuffer(device, self._size) if self._size else None
            if self._memory is not None:
                stack.callback(self._memory.free)
            self.close = stack.pop_all().close

    def lend(self, context: Any) -> None:
        """Let an execution context compute in it."""
        if self._memory is not None:
            context.set_device_memory(self._memory.pointer, self._size)

    def compute(self, stream: cuda.Stream, launch: Callable[[], None]) -> None:
        """Queue what ``launch`` queues on ``stream`` after what computed in it last."""
        stream.wait(self._computed)
        launch()
        self._computed.record(stream)


class Stopwatch:
    """Takes the times of one batch at a time, by events on its stream."""

    def __init__(self, device: cuda.Device) -> None:
        self._events = [cuda.Event(device, timed=True) for _ in range(4)]
        self._enqueue_s = 0.0

    def pass_by(self, point: int, stream: cuda.Stream) -> None:
        """Note when the stream comes to a point, of 0 to 3: before, between and after the parts."""
        self._events[point].record(stream)

    def launch(self, launch: Callable[[], None]) -> None:
        """Note how long the call takes that starts the computation."""
        start = time.perf_counter()
        launch()
        self._enqueue_s = time.perf_counter() - start

    def times(self) -> DeviceTimes:
        """Of the batch that has been waited for."""
        start, uploaded, computed, downloaded = self._events
        return DeviceTimes(
            host_to_device_ms=uploaded.since(start),
            compute_ms=computed.since(uploaded),
            device_to_host_ms=downloaded.since(computed),
            enqueue_ms=1e3 * self._enqueue_s,
        )

    def close(self) -> None:
        for event in self._events:
            event.free()


class Lane:
    """One batch in flight: an execution context with its stream and buffers.

    ``batch`` faces go in one shape from one address, so that a graph can hold it and pointers are
    aligned as TensorRT wants them, wherever faces come from.
    """

    _graph: cuda.Graph | None = None

    def __init__(
        self,
        device: cuda.Device,
        contexts: Contexts,
        scratch: Scratch,
        log: Log,
        contract: Contract,
        batch: int,
    ) -> None:
        self.batch = batch
        self._contract = contract
        self._device = device
        self._contexts = contexts
        self._scratch = scratch
        self._log = log
        self._resources = ExitStack()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        device = self._device
        self.stream = self._own(cuda.Stream(device))
        shape = (self.batch, *self._contract.face_shape)
        self._faces = self._own(cuda.PinnedBuffer(device, shape, "uint8"))
        self._input = self._own(cuda.DeviceBuffer(device, self._faces.array.nbytes))
        outputs = (self.batch, len(self._contract.labels))
        self._probabilities = self._own(cuda.PinnedBuffer(device, outputs, "float32"))
        self._output = self._own(cuda.DeviceBuffer(device, self._probabilities.array.nbytes))
        with self._log.collect() as errors:
            self._context = self._contexts.make()
            if self._context is None:
                raise EngineLoadError(
                    f"TensorRT cannot make an execution context: {cause(errors)}.",
                    hint="Free GPU memory, or build with a smaller --batch.",
                )
            self._resources.callback(setattr, self, "_context", None)
            self._scratch.lend(self._context)
            if not (
                self._context.set_input_shape(INPUT_NAME, shape)
                and self._context.set_tensor_address(INPUT_NAME, self._input.pointer)
                and self._context.set_tensor_address(OUTPUT_NAME, self._output.pointer)
            ):
                raise _failed(self.batch, errors)
        # TensorRT allocates in the first run of a shape, which no graph can hold.
        self._faces.array[:] = 0
        self.submit(self._faces.array)
        self.collect(self.batch)

    def _own(self, resource: Owned) -> Owned:
        self._resources.callback(resource.free)
        return resource

    def capture(self) -> None:
        """Take a CUDA graph from now on.

        Raises
        ------
        EngineError
            It cannot be captured; the lane works as before.
        """
        self._contexts.require_capturable(self._context, self.stream)
        self._graph = self._own(cuda.Graph(self._device, self.stream, self._enqueue))

    def release_graph(self) -> None:
        """Enqueue from now on."""
        if self._graph is not None:
            self._graph.free()
            self._graph = None

    def submit(self, faces: Faces | DeviceFaces, watch: Stopwatch | None = None) -> None:
        """Queue the upload, the inference and the download of a batch of at most ``batch``."""
        if watch is None:
            n = self._upload(faces)
            self._scratch.compute(self.stream, self._launch)
            self.stream.download(self._output, self._probabilities.array[:n])
            return
        watch.pass_by(0, self.stream)
        n = self._upload(faces)
        watch.pass_by(1, self.stream)
        self._scratch.compute(self.stream, lambda: watch.launch(self._launch))
        watch.pass_by(2, self.stream)
        self.stream.download(self._output, self._probabilities.array[:n])
        watch.pass_by(3, self.stream)

    def _upload(self, faces: Faces | DeviceFaces) -> int:
        if isinstance(faces, DeviceFaces):
            self.stream.copy(faces.pointer, self._input, faces.nbytes)
            return faces.number
        n = len(faces)
        self._faces.array[:n] = faces
        self.stream.upload(self._faces.array[:n], self._input)
        return n

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph.launch(self.stream)
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        with self._log.collect() as errors:
            if not self._context.execute_async_v3(self.stream.address):
                raise _failed(self.batch, errors)

    def collect(self, n: int) -> Probabilities:
        """Wait for the batch; a view of its first ``n`` probabilities, shape (n, labels)."""
        self.stream.synchronize()
        return self._probabilities.array[:n]

    def close(self) -> None:
        """Free the context, the buffers and the stream."""
        self._resources.close()


def capture_all(lanes: list[Lane]) -> str:
    """Capture all or none; what :attr:`fer_edge.engines.EngineInfo.launch` says of it."""
    try:
        for lane in lanes:
            lane.capture()
    except EngineError as error:
        for lane in lanes:
            lane.release_graph()
        return f"enqueue: {error.message.rstrip('.')}"
    return "CUDA graphs"


def _failed(n: int, errors: list[str]) -> InferenceError:
    return InferenceError(
        f"TensorRT failed on {n} faces: {cause(errors)}.",
        hint="Open the engine again; if it recurs, build it again.",
    )
