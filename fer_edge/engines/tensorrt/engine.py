"""Run a serialised engine with TensorRT or TensorRT-RTX."""

import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, cast

import numpy as np

from fer_edge.contract import INPUT_NAME, Precision
from fer_edge.engines import cuda
from fer_edge.engines.base import (
    DescribedEngine,
    DeviceTimes,
    EngineInfo,
    Faces,
    Probabilities,
    check_faces,
)
from fer_edge.engines.device_array import (
    DeviceArray,
    DeviceFaces,
    import_faces,
    is_device_array,
)
from fer_edge.engines.old_driver import is_old_driver
from fer_edge.engines.signature import Signature, Tensor, check_signature
from fer_edge.engines.tensorrt.contexts import Contexts
from fer_edge.engines.tensorrt.lanes import Lane, Scratch, Stopwatch, capture_all
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
from fer_edge.errors import EngineError, EngineLoadError, InferenceError, InputError

_REFUSALS = (
    (r"library version|VERSION_MISMATCH", "it was built by another version"),
    (r"incompatible device|compute capabilit|UNSUPPORTED_CC", "it was built for another GPU"),
    (r"magic", "it is damaged, or was built by another version"),
    (r"[Ss]erialization|empty memory buffer", "it is damaged"),
)
"""What TensorRT's words mean. https://github.com/NVIDIA/TensorRT/issues/564 and /574 quote them."""


class TensorRTEngine(DescribedEngine):
    """A serialised engine on one GPU; any thread may call :meth:`run`, one at a time goes through.

    Every batch size of :attr:`EngineInfo.buckets` has its own buffers and CUDA graph, made when the
    engine is opened; nothing is allocated later. TensorRT-RTX compiles its kernels then, too, and
    keeps them for the next start in :func:`fer_edge.files.cache_folder`.

    Parameters
    ----------
    plan : bytes
        What :func:`fer_edge.engines.tensorrt.build_engine` returned, under the same version.
    backend : {"tensorrt", "tensorrt-rtx"}
    precision : str
        Precision of the graph that ``plan`` was built from.
    device : int
        CUDA's index of the GPU.
    labels : sequence of str, optional
        Names of the outputs, of which an engine has none; by default FER2013's, where they are as
        many.

    Raises
    ------
    BackendUnavailableError
        The module, the driver or the GPU is missing.
    MissingDependencyError, UsageError
        As :func:`fer_edge.engines.cuda.driver.driver` says.
    EngineLoadError
        ``plan`` is damaged, was built by another version, for another GPU or from a graph of
        another signature, or does not fit into the GPU's memory.
    """

    def __init__(
        self,
        plan: bytes,
        backend: TensorRTBackend,
        *,
        precision: Precision,
        device: int = 0,
        labels: Sequence[str] | None = None,
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
            signature, smallest, largest = _signature(self._engine)
            self._contract = signature.contract(EngineLoadError, labels)
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
            buckets = _buckets(smallest, largest)
            self._lanes = [self._open_lane(batch, stack) for batch in buckets]
            # For the second of two batches in flight. What is larger than all goes in parts of the
            # largest; who wants more of a smaller one, waits once for another.
            self._twins = {buckets[-1]: self._open_lane(buckets[-1], stack)}
            self._contexts.keep()
            self._info = EngineInfo(
                backend=backend,
                backend_version=version,
                precision=precision,
                device=gpu.name,
                min_batch=1,
                max_batch=None,
                buckets=buckets,
                contract=self._contract,
                launch=capture_all([*self._lanes, *self._twins.values()]),
            )
            self._resources = stack.pop_all()
        _open_engines.add(self)

    def run(self, faces: Faces | DeviceArray) -> Probabilities:
        """Classify one batch; see :meth:`fer_edge.engines.base.Engine.run`.

        Parameters
        ----------
        faces : uint8 array, shape (N, channels, size, size) of ``describe().contract``
            In host memory; or on the engine's GPU, C-contiguous, as an array with ``__dlpack__`` or
            ``__cuda_array_interface__``. That is copied on the GPU, at any address, and not before
            what its library has queued to write it.
        """
        if not is_device_array(faces):
            check_faces(cast(Faces, faces), self._info)
        largest = self._info.buckets[-1]
        with self._in_use():
            taken = self._import(faces) if is_device_array(faces) else cast(Faces, faces)
            number = taken.number if isinstance(taken, DeviceFaces) else len(taken)
            parts = [_part(taken, start, largest) for start in range(0, number, largest)]
            probabilities = np.concatenate(self._run_parts(parts))
        return self.checked(probabilities)

    def run_timed(self, faces: Faces) -> tuple[Probabilities, DeviceTimes]:
        """As :meth:`run`, of at most ``describe().buckets[-1]`` faces, with its times."""
        check_faces(faces, self._info)
        if len(faces) > self._info.buckets[-1]:
            raise InputError(
                f"Times are of one batch, at most {self._info.buckets[-1]} faces, got {len(faces)}."
            )
        with self._in_use(), closing(Stopwatch(self._device)) as watch:
            lane = self._free_lane(len(faces), ())
            lane.submit(faces, watch)
            probabilities = lane.collect(len(faces)).copy()
            times = watch.times()
        return self.checked(probabilities), times

    def run_many(self, batches: Sequence[Faces]) -> list[Probabilities]:
        """As :meth:`run` of each batch, of at most ``describe().buckets[-1]`` faces, two of them in
        flight."""
        for faces in batches:
            check_faces(faces, self._info)
            if len(faces) > self._info.buckets[-1]:
                raise InputError(
                    f"A batch is at most {self._info.buckets[-1]} faces, got {len(faces)}."
                )
        with self._in_use():
            found = self._run_parts(batches)
        return [self.checked(probabilities) for probabilities in found]

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
        lane = Lane(self._device, self._contexts, self._scratch, self._log, self._contract, batch)
        stack.callback(lane.close)
        return lane

    def _run_parts(self, parts: Iterable[Faces | DeviceFaces]) -> list[Probabilities]:
        """Probabilities of each part, the callers' to keep."""
        found: list[Probabilities] = []
        in_flight: deque[tuple[Lane, int]] = deque()

        def collect() -> None:
            lane, n = in_flight.popleft()
            found.append(lane.collect(n).copy())

        try:
            for part in parts:
                if len(in_flight) == 2:
                    collect()
                number = part.number if isinstance(part, DeviceFaces) else len(part)
                lane = self._free_lane(number, [lane for lane, _ in in_flight])
                in_flight.append((lane, number))
                if isinstance(part, DeviceFaces):
                    lane.stream.wait(self._arrived)
                lane.submit(part)
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
            if self._info.launch == "CUDA graphs":
                with suppress(EngineError):
                    twin.capture()
            self._twins[lane.batch] = twin
        return self._twins[lane.batch]

    def _import(self, faces: DeviceArray) -> DeviceFaces:
        stream = self._lanes[-1].stream
        taken = import_faces(faces, self._device, stream, self._contract.face_shape)
        self._arrived.record(stream)
        return taken


_open_engines: "weakref.WeakSet[TensorRTEngine]" = weakref.WeakSet()
_of_the_parent: list[TensorRTEngine] = []
"""In a process that was forked: engines that must not be freed here, where the GPU is not ours."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _of_the_parent.extend(_open_engines))


def _part(faces: Faces | DeviceFaces, start: int, number: int) -> Faces | DeviceFaces:
    if isinstance(faces, DeviceFaces):
        return faces.part(start, number)
    return faces[start : start + number]


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


def _signature(engine: Any) -> tuple[Signature, int, int]:
    """What an engine takes and gives, and its smallest and largest batch."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    tensors: dict[str, list[Tensor]] = {"INPUT": [], "OUTPUT": []}
    for name in names:
        tensors[engine.get_tensor_mode(name).name].append(
            describe_tensor(name, engine.get_tensor_dtype(name), engine.get_tensor_shape(name))
        )
    signature = check_signature(tensors["INPUT"], tensors["OUTPUT"], EngineLoadError)
    shortest, _, longest = engine.get_tensor_profile_shape(INPUT_NAME, 0)
    return signature, int(shortest[0]), int(longest[0])
