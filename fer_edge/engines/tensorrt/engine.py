"""Run a serialised engine with TensorRT or TensorRT-RTX."""

import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from fer_edge.contract import EMOTIONS, FACE_SIZE, INPUT_NAME, Precision
from fer_edge.engines import cuda
from fer_edge.engines.base import (
    DescribedEngine,
    EngineInfo,
    Faces,
    Probabilities,
    check_faces,
    check_probabilities,
)
from fer_edge.engines.device_array import DeviceArray, import_faces, is_device_array
from fer_edge.engines.old_driver import is_old_driver
from fer_edge.engines.signature import Tensor, check_signature
from fer_edge.engines.tensorrt.lanes import DeviceLane, HostLane, Scratch, capture_all
from fer_edge.engines.tensorrt.module import (
    TensorRTBackend,
    cause,
    describe_tensor,
    log_of,
    module_version,
    start,
    start_error,
)
from fer_edge.errors import (
    BackendUnavailableError,
    EngineError,
    EngineLoadError,
    InferenceError,
    InputError,
)

_REFUSALS = (
    (r"library version|VERSION_MISMATCH", "it was built by another version"),
    (r"incompatible device|compute capabilit|UNSUPPORTED_CC", "it was built for another GPU"),
    (r"magic", "it is damaged, or was built by another version"),
    (r"[Ss]erialization|empty memory buffer", "it is damaged"),
)
"""What TensorRT's words mean. https://github.com/NVIDIA/TensorRT/issues/564 and /574 quote them."""


AnyLane = TypeVar("AnyLane", HostLane, DeviceLane)


class TensorRTEngine(DescribedEngine):
    """A serialised engine on one GPU; any thread may call :meth:`run`, one at a time goes through.

    Every batch size of :attr:`EngineInfo.buckets` has its own buffers and CUDA graph, made when the
    engine is opened; nothing is allocated later, but for the first faces that are on the GPU.

    Parameters
    ----------
    plan : bytes
        What :func:`fer_edge.engines.tensorrt.build_engine` returned, under the same version.
    backend : {"tensorrt", "tensorrt-rtx"}
    precision : str
        Precision of the graph that ``plan`` was built from.
    device : int
        CUDA's index of the GPU.

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
        self, plan: bytes, backend: TensorRTBackend, *, precision: Precision, device: int = 0
    ) -> None:
        version = module_version(backend)
        cuda.require_cuda()
        self._device = cuda.Device(device)
        self._backend = backend
        self._lock = threading.Lock()
        with _raised_as(EngineLoadError), self._device, ExitStack() as stack:
            # Freed in reverse: a runtime must outlive its engines, and an engine its contexts.
            self._runtime, self._engine = deserialize(plan, backend)
            stack.callback(setattr, self, "_runtime", None)
            stack.callback(setattr, self, "_engine", None)
            self._scratch = Scratch(self._device, self._engine)
            stack.callback(self._scratch.close)
            buckets = _buckets(*_batch_range(self._engine))
            self._lanes = [self._open_lane(HostLane, batch, stack) for batch in buckets]
            # What is larger than all goes in parts of the largest, two in flight.
            self._twin = self._open_lane(HostLane, buckets[-1], stack)
            self._device_lane: DeviceLane | None = None
            self._info = EngineInfo(
                backend=backend,
                backend_version=version,
                precision=precision,
                device=cuda.device_name(device),
                min_batch=1,
                max_batch=None,
                buckets=buckets,
                launch="CUDA graphs of TensorRT-RTX"
                if backend == "tensorrt-rtx"
                else capture_all([*self._lanes, self._twin]),
            )
            self._resources = stack.pop_all()

    def run(self, faces: Faces | DeviceArray) -> Probabilities:
        """Classify one batch; see :meth:`fer_edge.engines.base.Engine.run`.

        Parameters
        ----------
        faces : uint8 array, shape (N, 1, 48, 48)
            In host memory; or on the engine's GPU, C-contiguous, as an array with ``__dlpack__`` or
            ``__cuda_array_interface__``. That is read where it is, without a graph, and not before
            what its library has queued to write it.
        """
        if is_device_array(faces):
            classify = partial(self._run_on_device, faces)
        else:
            on_host = cast(Faces, faces)
            check_faces(on_host, self._info)
            classify = partial(self._run_from_host, on_host)
        with self._lock:
            if self._engine is None:
                raise InferenceError("This engine is closed.", hint="Open it again.")
            with _raised_as(InferenceError), self._device:
                probabilities = classify()
        return check_probabilities(probabilities, self._info)

    def describe(self) -> EngineInfo:
        """What this engine is and where it runs."""
        return self._info

    def close(self) -> None:
        """Free the GPU's memory, after a call under way has ended."""
        with self._lock:
            if self._engine is not None:
                with self._device:
                    self._resources.close()

    def __enter__(self) -> "TensorRTEngine":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open_lane(self, kind: type[AnyLane], batch: int, stack: ExitStack) -> AnyLane:
        lane = kind(self._device, self._engine, self._backend, self._scratch, batch)
        stack.callback(lane.close)
        return lane

    def _run_from_host(self, faces: Faces) -> Probabilities:
        out = np.empty((len(faces), len(EMOTIONS)), np.float32)
        largest = self._lanes[-1].batch
        in_flight: deque[tuple[HostLane, Probabilities]] = deque()
        try:
            for start in range(0, len(faces), largest):
                part = faces[start : start + largest]
                if len(in_flight) == 2:
                    _collect(*in_flight.popleft())
                lane = self._lane_of(len(part), turn=start // largest)
                in_flight.append((lane, out[start : start + largest]))
                lane.submit(part)
            while in_flight:
                _collect(*in_flight.popleft())
        finally:
            # After an error: nobody may overwrite or free what the GPU still works on.
            for lane, _ in in_flight:
                with suppress(EngineError):
                    lane.stream.synchronize()
        return out

    def _lane_of(self, n: int, *, turn: int) -> HostLane:
        lane = next(lane for lane in self._lanes if lane.batch >= n)
        return self._twin if lane.batch == self._twin.batch and turn % 2 else lane

    def _run_on_device(self, faces: DeviceArray) -> Probabilities:
        smallest, largest = self._info.buckets[0], self._info.buckets[-1]
        if self._device_lane is None:
            self._device_lane = self._open_lane(DeviceLane, largest, self._resources)
        lane = self._device_lane
        taken = import_faces(faces, self._device, lane.stream)
        if taken.number % largest and taken.number % largest < smallest:
            raise InputError(
                f"This engine takes {smallest} to {largest} faces at a time from the GPU, got "
                f"{taken.number}.",
                hint="Build it with a smaller batch, or hand over a numpy array.",
            )
        out = np.empty((taken.number, len(EMOTIONS)), np.float32)
        try:
            for start in range(0, taken.number, largest):
                part = out[start : start + largest]
                lane.submit(taken.pointer + start * FACE_SIZE * FACE_SIZE, len(part))
                _collect(lane, part)
        finally:
            with suppress(EngineError):
                lane.stream.synchronize()
        return out


def _collect(lane: HostLane | DeviceLane, out: Probabilities) -> None:
    out[:] = lane.collect(len(out))


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


def _batch_range(engine: Any) -> tuple[int, int]:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    tensors: dict[str, list[Tensor]] = {"INPUT": [], "OUTPUT": []}
    for name in names:
        tensors[engine.get_tensor_mode(name).name].append(
            describe_tensor(name, engine.get_tensor_dtype(name), engine.get_tensor_shape(name))
        )
    check_signature(tensors["INPUT"], tensors["OUTPUT"], EngineLoadError)
    shortest, _, longest = engine.get_tensor_profile_shape(INPUT_NAME, 0)
    return int(shortest[0]), int(longest[0])


@contextmanager
def _raised_as(kind: type[EngineError]) -> Iterator[None]:
    """Raise CUDA's errors as ``kind``, by which a caller knows what was under way."""
    try:
        yield
    except (BackendUnavailableError, kind):
        raise
    except EngineError as error:
        raise kind(error.message, hint=error.hint) from error
