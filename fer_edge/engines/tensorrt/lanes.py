"""Batches on their way through the GPU."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from fer_edge.engines import cuda
from fer_edge.engines.base import DeviceTimes
from fer_edge.engines.network import Array
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.picking import Pick, Picker
from fer_edge.engines.signature import Tensor
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


Feed = Mapping[str, Array | OnGpu]
"""By the names of the inputs; all of one batch size."""


def batch_size(feed: Feed) -> int:
    """How many faces or frames go in."""
    first = next(iter(feed.values()))
    return first.number if isinstance(first, OnGpu) else len(first)


class _Buffers:
    """One tensor in host memory and on the GPU."""

    def __init__(self, device: cuda.Device, tensor: Tensor, batch: int, stack: ExitStack) -> None:
        shape = (batch, *(size for size in tensor.shape[1:] if size is not None))
        self.host = cuda.PinnedBuffer(device, shape, tensor.dtype)
        stack.callback(self.host.free)
        self.gpu = cuda.DeviceBuffer(device, self.host.array.nbytes)
        stack.callback(self.gpu.free)


class Lane:
    """One batch in flight: an execution context with its stream and buffers.

    ``batch`` faces or frames go in one shape from one address, so that a graph can hold it and
    pointers are aligned as TensorRT wants them, wherever faces come from.
    """

    _graph: cuda.Graph | None = None
    _picker: Picker | None = None

    def __init__(
        self,
        device: cuda.Device,
        contexts: Contexts,
        scratch: Scratch,
        log: Log,
        tensors: tuple[Sequence[Tensor], Sequence[Tensor]],
        batch: int,
    ) -> None:
        self.batch = batch
        self._tensors = tensors
        """Inputs and outputs."""
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
        self._inputs, self._outputs = (
            {one.name: _Buffers(device, one, self.batch, self._resources) for one in tensors}
            for tensors in self._tensors
        )
        with self._log.collect() as errors:
            self._context = self._contexts.make()
            if self._context is None:
                raise EngineLoadError(
                    f"TensorRT cannot make an execution context: {cause(errors)}.",
                    hint="Free GPU memory, or build with a smaller --batch.",
                )
            self._resources.callback(setattr, self, "_context", None)
            self._scratch.lend(self._context)
            shapes = [
                self._context.set_input_shape(name, buffers.host.array.shape)
                for name, buffers in self._inputs.items()
            ]
            addresses = [
                self._context.set_tensor_address(name, buffers.gpu.pointer)
                for name, buffers in (self._inputs | self._outputs).items()
            ]
            if not all((*shapes, *addresses)):
                raise self._failed(errors)
        # TensorRT allocates in the first run of a shape, which no graph can hold.
        for buffers in self._inputs.values():
            buffers.host.array[:] = 0
        self.submit({name: buffers.host.array for name, buffers in self._inputs.items()})
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

    def submit(self, feed: Feed, watch: Stopwatch | None = None, pick: Pick | None = None) -> None:
        """Queue the upload, the inference and the download of a batch of at most ``batch``.

        With ``pick``, of which all must be of a kind, only that is downloaded.
        """
        n = batch_size(feed)
        if pick is not None:
            if self._picker is None:
                self._picker = pick.picker(self.batch)
                self._resources.callback(self._picker.free)
            pick.apply(self._picker)
            self._upload(feed)
            self._scratch.compute(self.stream, self._launch)
            outputs = {name: buffers.gpu.pointer for name, buffers in self._outputs.items()}
            self._picker.queue(self.stream, outputs, n)
            return
        if watch is None:
            self._upload(feed)
            self._scratch.compute(self.stream, self._launch)
            self._download(n)
            return
        watch.pass_by(0, self.stream)
        self._upload(feed)
        watch.pass_by(1, self.stream)
        self._scratch.compute(self.stream, lambda: watch.launch(self._launch))
        watch.pass_by(2, self.stream)
        self._download(n)
        watch.pass_by(3, self.stream)

    def _upload(self, feed: Feed) -> None:
        for name, buffers in self._inputs.items():
            what = feed[name]
            if isinstance(what, OnGpu):
                what.queue(self.stream, buffers.gpu.pointer)
                continue
            n = len(what)
            buffers.host.array[:n] = what
            self.stream.upload(buffers.host.array[:n], buffers.gpu)

    def _download(self, n: int) -> None:
        for buffers in self._outputs.values():
            self.stream.download(buffers.gpu, buffers.host.array[:n])

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph.launch(self.stream)
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        with self._log.collect() as errors:
            if not self._context.execute_async_v3(self.stream.address):
                raise self._failed(errors)

    def _failed(self, errors: list[str]) -> InferenceError:
        what = ", ".join(f"{self.batch} {name}" for name in self._inputs)
        return InferenceError(
            f"TensorRT failed on {what}: {cause(errors)}.",
            hint="Open the engine again; if it recurs, build it again.",
        )

    def collect(self, n: int) -> dict[str, Array]:
        """Wait for the batch; views of the first ``n`` rows of the outputs, by their names."""
        self.stream.synchronize()
        return {name: buffers.host.array[:n] for name, buffers in self._outputs.items()}

    def collect_picked(self) -> list[Any]:
        """Wait for a batch that was submitted with ``pick``; an answer for each of its rows."""
        assert self._picker is not None
        self.stream.synchronize()
        return self._picker.collect(self.stream)

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
