"""Batches on their way through the GPU."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from fer_edge.contract import EMOTIONS, FACE_SIZE, INPUT_NAME, OUTPUT_NAME
from fer_edge.engines import cuda
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.engines.tensorrt import rtx
from fer_edge.engines.tensorrt.module import TensorRTBackend, cause, load_module, log_of
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


class Lane:
    """One batch in flight: an execution context with its stream and output."""

    def __init__(
        self,
        device: cuda.Device,
        engine: Any,
        backend: TensorRTBackend,
        scratch: Scratch,
        batch: int,
    ) -> None:
        self.batch = batch
        self._device = device
        self._scratch = scratch
        self._log = log_of(backend)
        self._resources = ExitStack()
        try:
            self._open(engine, backend)
        except BaseException:
            self.close()
            raise

    def _open(self, engine: Any, backend: TensorRTBackend) -> None:
        self.stream = self._own(cuda.Stream(self._device))
        shape = (self.batch, len(EMOTIONS))
        self._probabilities = self._own(cuda.PinnedBuffer(self._device, shape, "float32"))
        nbytes = self._probabilities.array.nbytes
        self._output = self._own(cuda.DeviceBuffer(self._device, nbytes))
        with self._log.collect() as errors:
            self._context = self._make_context(engine, backend)
            if self._context is None:
                raise EngineLoadError(
                    f"TensorRT cannot make an execution context: {cause(errors)}.",
                    hint="Free GPU memory, or build with a smaller --batch.",
                )
        self._resources.callback(setattr, self, "_context", None)
        self._scratch.lend(self._context)
        self._context.set_tensor_address(OUTPUT_NAME, self._output.pointer)

    def _make_context(self, engine: Any, backend: TensorRTBackend) -> Any:
        if backend == "tensorrt-rtx":
            return rtx.make_context(engine, graphs=False)
        trt = load_module(backend)
        return engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)

    def _own(self, resource: Owned) -> Owned:
        self._resources.callback(resource.free)
        return resource

    def collect(self, n: int) -> Probabilities:
        """Wait for the batch; a view of its first ``n`` probabilities, shape (n, 7)."""
        self.stream.synchronize()
        return self._probabilities.array[:n]

    def close(self) -> None:
        """Free the context, the buffers and the stream."""
        self._resources.close()

    def _set_input(self, n: int, pointer: int) -> None:
        with self._log.collect() as errors:
            shape = (n, 1, FACE_SIZE, FACE_SIZE)
            if not (
                self._context.set_input_shape(INPUT_NAME, shape)
                and self._context.set_tensor_address(INPUT_NAME, pointer)
            ):
                raise _failed(n, errors)

    def _enqueue(self, n: int) -> None:
        with self._log.collect() as errors:
            if not self._context.execute_async_v3(self.stream.address):
                raise _failed(n, errors)

    def _run(self, n: int, launch: Callable[[], None]) -> None:
        self._scratch.compute(self.stream, launch)
        self.stream.download(self._output, self._probabilities.array[:n])


class HostLane(Lane):
    """For faces in host memory: ``batch`` of them in one shape at one address, for a graph."""

    _graph: cuda.Graph | None = None

    def _open(self, engine: Any, backend: TensorRTBackend) -> None:
        super()._open(engine, backend)
        shape = (self.batch, 1, FACE_SIZE, FACE_SIZE)
        self._faces = self._own(cuda.PinnedBuffer(self._device, shape, "uint8"))
        self._input = self._own(cuda.DeviceBuffer(self._device, self._faces.array.nbytes))
        self._set_input(self.batch, self._input.pointer)
        # TensorRT allocates in the first run of a shape, which no graph can hold.
        self._faces.array[:] = 0
        self.submit(self._faces.array)
        self.collect(self.batch)

    def _make_context(self, engine: Any, backend: TensorRTBackend) -> Any:
        if backend == "tensorrt-rtx":
            return rtx.make_context(engine, graphs=True)
        return super()._make_context(engine, backend)

    def capture(self) -> None:
        """Take a CUDA graph from now on.

        Raises
        ------
        EngineError
            It cannot be captured; the lane works as before.
        """
        graph = cuda.Graph(self._device, self.stream, lambda: self._enqueue(self.batch))
        self._graph = self._own(graph)

    def release_graph(self) -> None:
        """Enqueue from now on."""
        if self._graph is not None:
            self._graph.free()
            self._graph = None

    def submit(self, faces: Faces) -> None:
        """Queue the upload, the inference and the download of a batch of at most ``batch``."""
        n = len(faces)
        self._faces.array[:n] = faces
        self.stream.upload(self._faces.array[:n], self._input)
        self._run(n, self._launch)

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph.launch(self.stream)
        else:
            self._enqueue(self.batch)


class DeviceLane(Lane):
    """For faces in GPU memory, where they are: shape and address change with each batch."""

    def submit(self, pointer: int, n: int) -> None:
        """Queue the inference and the download of ``n`` faces at ``pointer``."""
        self._set_input(n, pointer)
        self._run(n, lambda: self._enqueue(n))


def capture_all(lanes: list[HostLane]) -> str:
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
