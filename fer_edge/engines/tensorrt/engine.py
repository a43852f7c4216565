"""Run a serialised engine with TensorRT or TensorRT-RTX."""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from fer_edge.contract import EMOTIONS, FACE_SIZE, INPUT_NAME, OUTPUT_NAME, Precision
from fer_edge.engines import cuda
from fer_edge.engines.base import (
    EngineInfo,
    Faces,
    Probabilities,
    check_faces,
    check_probabilities,
)
from fer_edge.engines.signature import Tensor, check_signature
from fer_edge.engines.tensorrt.module import (
    TensorRTBackend,
    cause,
    describe_tensor,
    log_of,
    module_version,
    start,
)
from fer_edge.errors import (
    BackendUnavailableError,
    EngineError,
    EngineLoadError,
    InferenceError,
)

_REFUSALS = (
    (r"library version|VERSION_MISMATCH", "it was built by another version"),
    (r"incompatible device|compute capabilit|UNSUPPORTED_CC", "it was built for another GPU"),
    (r"magic", "it is damaged, or was built by another version"),
    (r"[Ss]erialization|empty memory buffer", "it is damaged"),
)
"""What TensorRT's words mean. https://github.com/NVIDIA/TensorRT/issues/564 and /574 quote them."""


class TensorRTEngine:
    """A serialised engine on one GPU; any thread may call :meth:`run`, one at a time goes through.

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
    EngineLoadError
        ``plan`` is damaged, was built by another version, for another GPU or from a graph of
        another signature, or does not fit into the GPU's memory.
    """

    def __init__(
        self, plan: bytes, backend: TensorRTBackend, *, precision: Precision, device: int = 0
    ) -> None:
        version = module_version(backend)
        cuda.require_cuda()
        cuda.use_device(device)
        self._device = device
        self._lock = threading.Lock()
        with ExitStack() as stack, _raised_as(EngineLoadError):
            # Freed in reverse: a runtime must outlive its engines, and an engine its contexts.
            self._runtime, self._engine = deserialize(plan, backend)
            stack.callback(setattr, self, "_runtime", None)
            stack.callback(setattr, self, "_engine", None)
            min_batch, max_batch = _batch_range(self._engine)
            self._lane = _Lane(self._engine, backend, max_batch)
            stack.callback(self._lane.close)
            self._info = EngineInfo(
                backend=backend,
                backend_version=version,
                precision=precision,
                device=cuda.device_name(device),
                min_batch=min_batch,
                max_batch=max_batch,
            )
            self._resources = stack.pop_all()

    def run(self, faces: Faces) -> Probabilities:
        """Classify one batch; see :meth:`fer_edge.engines.base.Engine.run`."""
        check_faces(faces, self._info)
        with self._lock:
            if self._engine is None:
                raise InferenceError("This engine is closed.", hint="Open it again.")
            with _raised_as(InferenceError):
                # The current GPU belongs to a thread, and this may be another than the last.
                cuda.use_device(self._device)
                self._lane.submit(faces)
                probabilities = self._lane.collect()
        return check_probabilities(probabilities, self._info)

    def describe(self) -> EngineInfo:
        """What this engine is and where it runs."""
        return self._info

    def close(self) -> None:
        """Free the GPU's memory, after a call under way has ended."""
        with self._lock:
            self._resources.close()

    def __enter__(self) -> "TensorRTEngine":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Lane:
    """One batch in flight: an execution context with its stream and buffers.

    Several lanes of one engine can be in flight at once.
    """

    def __init__(self, engine: Any, backend: TensorRTBackend, max_batch: int) -> None:
        self._log = log_of(backend)
        self._batch = 0
        with ExitStack() as stack:
            self._stream = cuda.Stream()
            stack.callback(self._stream.free)
            self._faces = cuda.PinnedBuffer((max_batch, 1, FACE_SIZE, FACE_SIZE), "uint8")
            stack.callback(self._faces.free)
            self._probabilities = cuda.PinnedBuffer((max_batch, len(EMOTIONS)), "float32")
            stack.callback(self._probabilities.free)
            self._device_in = cuda.DeviceBuffer(self._faces.array.nbytes)
            stack.callback(self._device_in.free)
            self._device_out = cuda.DeviceBuffer(self._probabilities.array.nbytes)
            stack.callback(self._device_out.free)
            with self._log.collect() as errors:
                self._context = engine.create_execution_context()
                if self._context is None:
                    raise EngineLoadError(
                        f"TensorRT cannot make an execution context: {cause(errors)}.",
                        hint="Free GPU memory, or build with a smaller --batch.",
                    )
            stack.callback(setattr, self, "_context", None)
            self._context.set_tensor_address(INPUT_NAME, self._device_in.pointer)
            self._context.set_tensor_address(OUTPUT_NAME, self._device_out.pointer)
            self._resources = stack.pop_all()

    def submit(self, faces: Faces) -> None:
        """Queue the upload, the inference and the download of one batch."""
        n = len(faces)
        self._faces.array[:n] = faces
        with self._log.collect() as errors:
            if n != self._batch:
                self._batch = 0
                if not self._context.set_input_shape(INPUT_NAME, faces.shape):
                    raise self._failed(n, errors)
                self._batch = n
            self._stream.upload(self._faces.array[:n], self._device_in)
            if not self._context.execute_async_v3(self._stream.handle):
                raise self._failed(n, errors)
            self._stream.download(self._device_out, self._probabilities.array[:n])

    def collect(self) -> Probabilities:
        """Wait for the batch and return its probabilities, shape (N, 7)."""
        self._stream.synchronize()
        probabilities: Probabilities = self._probabilities.array[: self._batch].copy()
        return probabilities

    def close(self) -> None:
        """Free the context, the buffers and the stream."""
        self._resources.close()

    def _failed(self, n: int, errors: list[str]) -> InferenceError:
        return InferenceError(
            f"TensorRT failed on {n} faces: {cause(errors)}.",
            hint="Open the engine again; if it recurs, build it again.",
        )


def deserialize(plan: bytes, backend: TensorRTBackend) -> tuple[Any, Any]:
    """Return TensorRT's runtime and the engine that it made of ``plan``.

    Raises
    ------
    EngineLoadError
        TensorRT refuses ``plan``; the message says why.
    BackendUnavailableError
        There is no usable GPU.
    """
    with log_of(backend).collect() as errors:
        runtime = start("Runtime", backend)
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        # A sound plan is refused too where there is no GPU to load it on.
        if errors and "cudaError" in errors[0]:
            cuda.require_cuda()
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
