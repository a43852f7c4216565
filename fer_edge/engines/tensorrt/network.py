"""Run a serialised engine with TensorRT or TensorRT-RTX, whatever it is for."""

import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import Any, cast

import numpy as np

from fer_edge.contract import Precision
from fer_edge.engines import cuda
from fer_edge.engines.base import DeviceTimes
from fer_edge.engines.device_array import DeviceArray, import_faces, is_device_array
from fer_edge.engines.network import Array, Network, NetworkInfo
from fer_edge.engines.old_driver import is_old_driver
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.picking import Pick
from fer_edge.engines.signature import Tensor
from fer_edge.engines.tensorrt.contexts import Contexts
from fer_edge.engines.tensorrt.lanes import (
    Feed,
    Lane,
    Scratch,
    Stopwatch,
    batch_size,
    capture_all,
)
from fer_edge.engines.tensorrt.module import (
    TensorRTBackend,
    cause,
    describe_tensor,
    log_of,
    module_version,
    raised_as,
    start,
    start_error,
)
from fer_edge.engines.tensorrt.rtx import RtxContexts, kernel_cache
from fer_edge.errors import EngineError, EngineLoadError, InferenceError

_REFUSALS = (
    (r"library version|VERSION_MISMATCH", "it was built by another version"),
    (r"incompatible device|compute capabilit|UNSUPPORTED_CC", "it was built for another GPU"),
    (r"magic", "it is damaged, or was built by another version"),
    (r"[Ss]erialization|empty memory buffer", "it is damaged"),
)
"""What TensorRT's words mean. https://github.com/NVIDIA/TensorRT/issues/564 and /574 quote them."""


Tensors = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


class TensorRTNetwork(Network):
    """A serialised engine on one GPU; any thread may call it, one at a time goes through.

    Every batch size of :attr:`buckets` has its own buffers and CUDA graph, made when the engine is
    opened; nothing is allocated later, but once for what is picked. TensorRT-RTX compiles its
    kernels then, too, and keeps them for the next start in :func:`fer_edge.files.cache_folder`.
    Batches larger than all buckets go in parts, two of them in flight.

    Parameters
    ----------
    plan : bytes
        What :func:`fer_edge.engines.tensorrt.build_engine` returned, under the same version.
    backend : {"tensorrt", "tensorrt-rtx"}
    precision : str
        Precision of the graph that ``plan`` was built from.
    device : int
        CUDA's index of the GPU.
    check : callable, optional
        Gets inputs and outputs before memory is taken for them; may raise EngineLoadError.

    Raises
    ------
    BackendUnavailableError
        The module, the driver or the GPU is missing.
    MissingDependencyError, UsageError
        As :func:`fer_edge.engines.cuda.driver.driver` says.
    EngineLoadError
        ``plan`` is damaged, was built by another version or for another GPU, or does not fit into
        the GPU's memory.
    """

    buckets: tuple[int, ...]
    """Batch sizes that have their own buffers: a batch runs in the next larger one."""
    launch: str
    """As :attr:`fer_edge.engines.EngineInfo.launch`."""

    def __init__(
        self,
        plan: bytes,
        backend: TensorRTBackend,
        *,
        precision: Precision,
        device: int = 0,
        check: Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], object] | None = None,
    ) -> None:
        version = module_version(backend)
        with raised_as(EngineLoadError):
            gpu = cuda.describe_gpu(device)
            self._device = cuda.Device(device)
        self._log = log_of(backend)
        self._lock = threading.Lock()
        with raised_as(EngineLoadError), self._device, ExitStack() as stack:
            # Freed in reverse: a runtime must outlive its engines, and an engine its contexts.
            self._runtime, self._engine = deserialize(plan, backend)
            stack.callback(setattr, self, "_runtime", None)
            stack.callback(setattr, self, "_engine", None)
            self._tensors = _tensors(self._engine)
            if check is not None:
                check(*self._tensors)
            smallest, largest = _batches(self._engine, self._tensors[0][0].name)
            self._scratch = Scratch(self._device, self._engine)
            stack.callback(self._scratch.close)
            self._contexts = (
                RtxContexts(self._engine, kernel_cache(plan, gpu))
                if backend == "tensorrt-rtx"
                else Contexts(self._engine, backend)
            )
            stack.callback(self._contexts.close)
            self._arrived = cuda.Event(self._device)
            stack.callback(self._arrived.free)
            self.buckets = _buckets(smallest, largest)
            self._lanes = [self._open_lane(batch, stack) for batch in self.buckets]
            # For the second of two batches in flight. What is larger than all goes in parts of the
            # largest; who wants more of a smaller one, waits once for another.
            self._twins = {self.buckets[-1]: self._open_lane(self.buckets[-1], stack)}
            self._contexts.keep()
            self.launch = capture_all([*self._lanes, *self._twins.values()])
            self._resources = stack.pop_all()
        inputs, outputs = self._tensors
        info = NetworkInfo(backend, version, precision, gpu.name, inputs, outputs, gpu=device)
        super().__init__(None, info)
        _open_networks.add(self)

    def compute(self, inputs: Mapping[str, Array | DeviceArray | OnGpu]) -> dict[str, Array]:
        """As :meth:`run`, of inputs that have been checked.

        They may be on the GPU, C-contiguous, as arrays with ``__dlpack__`` or
        ``__cuda_array_interface__``. Such are copied on the GPU, at any address, and not before
        what their library has queued to write them. What is made on the GPU,
        :class:`~fer_edge.engines.on_gpu.OnGpu`, is made where the engine reads it.
        """
        largest = self.buckets[-1]
        with self._in_use():
            feed = {
                name: self._import(name, what)
                if is_device_array(what)
                else cast(Array | OnGpu, what)
                for name, what in inputs.items()
            }
            starts = range(0, batch_size(feed), largest)
            found = self._run_parts(
                {name: _part(what, start, largest) for name, what in feed.items()}
                for start in starts
            )
        if len(found) == 1:
            return found[0]
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def compute_picked(self, inputs: Mapping[str, OnGpu], pick: Pick) -> list[Any]:
        """As :meth:`compute`, of which only what ``pick`` says comes down: an answer for each row.

        All calls must pick of a kind.
        """
        largest = self.buckets[-1]
        with self._in_use():
            starts = range(0, batch_size(inputs), largest)
            found = self._run_parts(
                ({name: what.part(at, largest) for name, what in inputs.items()} for at in starts),
                pick,
            )
        return [answer for part in found for answer in part]

    def compute_timed(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], DeviceTimes]:
        """As :meth:`compute`, of a batch no larger than the largest bucket, with its times."""
        n = batch_size(inputs)
        with self._in_use(), closing(Stopwatch(self._device)) as watch:
            lane = self._free_lane(n, ())
            lane.submit(inputs, watch)
            found = _kept(lane.collect(n))
            return found, watch.times()

    def compute_many(self, batches: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """As :meth:`compute` of each, none larger than the largest bucket, two in flight."""
        with self._in_use():
            return self._run_parts(batches)

    def close(self) -> None:
        """Free the GPU's memory, after a call under way has ended; raises nothing.

        After an error that took the GPU away, the driver frees its part when the process ends.
        """
        if self._device.driver.forked:
            return
        with self._lock:
            if self._engine is not None:
                with self._device.closing():
                    self._resources.close()
        super().close()

    def _compute(self, handle: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
        del handle
        return self.compute(inputs)

    @staticmethod
    def _reason(error: Exception) -> str:
        return str(error).rstrip(".")

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """One call at a time, in the GPU's context."""
        with raised_as(InferenceError):
            # Before the lock, which another thread may have held when this process was forked.
            self._device.driver.require_usable()
        with self._lock:
            if self._engine is None:
                raise InferenceError("This engine is closed.", hint="Open it again.")
            with raised_as(InferenceError), self._device:
                yield

    def _open_lane(self, batch: int, stack: ExitStack) -> Lane:
        lane = Lane(self._device, self._contexts, self._scratch, self._log, self._tensors, batch)
        stack.callback(lane.close)
        return lane

    def _run_parts(self, parts: Iterable[Feed], pick: Pick | None = None) -> list[Any]:
        """Outputs of each part, or what is picked of them, the callers' to keep."""
        found: list[Any] = []
        in_flight: deque[tuple[Lane, int]] = deque()

        def collect() -> None:
            lane, n = in_flight.popleft()
            found.append(_kept(lane.collect(n)) if pick is None else lane.collect_picked())

        try:
            for part in parts:
                if len(in_flight) == 2:
                    collect()
                number = batch_size(part)
                lane = self._free_lane(number, [lane for lane, _ in in_flight])
                in_flight.append((lane, number))
                lane.submit(part, pick=pick)
            while in_flight:
                collect()
        finally:
            # After an error: nobody may overwrite or free what the GPU still works on.
            for lane, _ in in_flight:
                with suppress(EngineError):
                    lane.stream.synchronize()
        return found

    def _free_lane(self, n: int, busy: Sequence[Lane]) -> Lane:
        lane = next(lane for lane in self._lanes if lane.batch >= n)
        if lane not in busy:
            return lane
        if lane.batch not in self._twins:
            twin = self._open_lane(lane.batch, self._resources)
            if self.launch == "CUDA graphs":
                with suppress(EngineError):
                    twin.capture()
            self._twins[lane.batch] = twin
        return self._twins[lane.batch]

    def _import(self, name: str, what: DeviceArray) -> OnGpu:
        stream = self._lanes[-1].stream
        (tensor,) = [one for one in self._tensors[0] if one.name == name]
        shape = cast(tuple[int, int, int], tensor.shape[1:])
        taken = import_faces(what, self._device, stream, shape)
        self._arrived.record(stream)
        return replace(taken, arrived=self._arrived)


_open_networks: "weakref.WeakSet[TensorRTNetwork]" = weakref.WeakSet()
_of_the_parent: list[TensorRTNetwork] = []
"""In a process that was forked: engines that must not be freed here, where the GPU is not ours."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _of_the_parent.extend(_open_networks))


def _part(what: Array | OnGpu, start: int, number: int) -> Array | OnGpu:
    if isinstance(what, OnGpu):
        return what.part(start, number)
    return what[start : start + number]


def _kept(views: Mapping[str, Array]) -> dict[str, Array]:
    """Copies, as the next batch overwrites what they show."""
    return {name: view.copy() for name, view in views.items()}


def _buckets(smallest: int, largest: int) -> tuple[int, ...]:
    """The powers of two between, and both ends."""
    powers = (1 << exponent for exponent in range(largest.bit_length()))
    return tuple(sorted({smallest, largest, *(n for n in powers if smallest < n < largest)}))


def deserialize(plan: bytes, backend: TensorRTBackend) -> tuple[Any, Any]:
    """Return TensorRT's runtime and the engine that it made of ``plan``.

    Raises
    ------
    EngineLoadError
        TensorRT refuses ``plan``; the message says why.
    BackendUnavailableError
        There is no usable GPU, or the driver is too old.
    """
    with log_of(backend).collect() as errors:
        runtime = start("Runtime", backend)
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        # A sound plan is refused too where there is no GPU to load it on.
        if errors and "cudaError" in errors[0]:
            cuda.require_cuda()
        if errors and is_old_driver(errors[0]):
            raise start_error(backend, errors)
        raise EngineLoadError(
            f"{backend} {module_version(backend)} refused this engine: {_refusal(errors)}.",
            hint="Build it again on this machine with: fer-edge export",
        )
    return runtime, engine


def _refusal(errors: list[str]) -> str:
    text = cause(errors)
    meanings = (meaning for pattern, meaning in _REFUSALS if re.search(pattern, " ".join(errors)))
    meaning = next(meanings, None)
    return f"{meaning} ({text})" if meaning else text


def _tensors(engine: Any) -> Tensors:
    """Inputs and outputs of an engine."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    tensors: dict[str, list[Tensor]] = {"INPUT": [], "OUTPUT": []}
    for name in names:
        tensors[engine.get_tensor_mode(name).name].append(
            describe_tensor(name, engine.get_tensor_dtype(name), engine.get_tensor_shape(name))
        )
    return tuple(tensors["INPUT"]), tuple(tensors["OUTPUT"])


def _batches(engine: Any, name: str) -> tuple[int, int]:
    """Smallest and largest batch of an engine."""
    shortest, _, longest = engine.get_tensor_profile_shape(name, 0)
    return int(shortest[0]), int(longest[0])
