"""The protocol that every inference engine keeps."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FER2013, OUTPUT_NAME, Contract
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.errors import InferenceError, InputError

Faces = NDArray[np.uint8]
Probabilities = NDArray[np.float32]

_SUM_TOLERANCE = 0.01
"""How far a row's sum may be from 1. In float16, the narrowest type that a softmax is computed in,
each share is rounded by at most 2**-11 of itself and the sum that they are divided by once a term:
with 16 labels that is 0.8 %."""


@dataclass(frozen=True)
class EngineInfo:
    """What an engine is and where it runs."""

    backend: str
    """Name in :data:`fer_edge.engines.BACKENDS`, for example ``"onnxruntime-cpu"``."""
    backend_version: str
    precision: str
    device: str
    """Processor or GPU, as its vendor names it."""
    min_batch: int
    max_batch: int | None
    """Largest batch in one call; None where any size goes."""
    inference_precision: str | None = None
    """What layers in floating point compute in, where the backend takes that as an option
    (OpenVINO: ``"f32"``, ``"bf16"``, ``"f16"``); None where the graph alone decides."""
    buckets: tuple[int, ...] = ()
    """Batch sizes that have their own buffers, where an engine has such: a batch runs in the next
    larger one, and what is larger than all in parts."""
    launch: str | None = None
    """What starts a batch on the GPU: ``"CUDA graphs"``, or ``"enqueue"`` and why not graphs. None
    where an engine does not choose."""
    integers: str | None = None
    """How ONNX Runtime multiplies integers on this processor, and why, as
    :class:`fer_edge.engines.integer_products.IntegerProducts` has it; None without integers."""
    choice: str | None = None
    """What ``precision="auto"`` went by; None where the precision was named."""
    file: str | None = None
    """What was loaded of an artifact, relative to it; None where it came from elsewhere."""
    passed_over: tuple[str, ...] = ()
    """What :func:`fer_edge.engines.open_engine` would have taken before this one, and why not."""
    contract: Contract = FER2013
    """Size and colour of the faces that go in, and the labels of what comes out."""
    gpu: int | None = None
    """CUDA's index of the GPU that it runs on, which takes what is there already; None on a
    processor."""


@dataclass(frozen=True)
class DeviceTimes:
    """Where the time of one batch goes on a GPU, by CUDA events; the parts are trtexec's.

    https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/best-practices.html
    """

    host_to_device_ms: float
    """H2D Latency."""
    compute_ms: float
    """GPU Compute Time."""
    device_to_host_ms: float
    """D2H Latency."""
    enqueue_ms: float
    """Enqueue Time: of the call that starts the computation, on the host's clock."""


@runtime_checkable
class Engine(Protocol):
    """One loaded model on one device.

    Engines are context managers; :meth:`close` may be called more than once.
    """

    def run(self, faces: Faces) -> Probabilities:
        """Classify one batch.

        Parameters
        ----------
        faces : uint8 array, shape (N, channels, size, size) of ``describe().contract``
            N between ``describe().min_batch`` and ``describe().max_batch``.

        Returns
        -------
        float32 array, shape (N, labels)

        Raises
        ------
        InputError
            Wrong shape, dtype or batch size.
        InferenceError
            The backend failed, or returned NaN; in the first run, what are no probabilities.
        """
        ...

    def describe(self) -> EngineInfo: ...

    def close(self) -> None: ...

    def __enter__(self) -> "Engine": ...

    def __exit__(self, *exc: object) -> None: ...


_Self = TypeVar("_Self", bound="DescribedEngine")


class DescribedEngine(ABC):
    """What engines share: what they say of themselves, and that a ``with`` block closes them."""

    _info: EngineInfo
    _values_known = False
    """Whether a run has shown that the graph gives probabilities."""

    @abstractmethod
    def run(self, faces: Faces) -> Probabilities:
        """Classify one batch; see :meth:`Engine.run`."""

    @abstractmethod
    def close(self) -> None: ...

    def describe(self) -> EngineInfo:
        """What this engine is and where it runs."""
        return self._info

    def checked(self, probabilities: Probabilities) -> Probabilities:
        """Check what came out: each time that it is finite, the first time that these are shares.

        Raises
        ------
        InferenceError
            Another shape, NaN or infinity; values that are negative or do not sum to 1.
        """
        check_probabilities(probabilities, self._info)
        if not self._values_known and len(probabilities):
            check_shares(probabilities)
            self._values_known = True
        return probabilities

    def add_facts(self, **facts: object) -> None:
        """Set fields of what :meth:`describe` returns that only the one who opened it knows."""
        self._info = replace(self._info, **facts)  # type: ignore[arg-type]

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@runtime_checkable
class DeviceEngine(Engine, Protocol):
    """An engine on a GPU that tells more of its time."""

    def run_timed(self, faces: Faces) -> tuple[Probabilities, DeviceTimes]:
        """As :meth:`run`, of at most ``describe().buckets[-1]`` faces, with its times."""
        ...

    def run_many(self, batches: Sequence[Faces]) -> list[Probabilities]:
        """As :meth:`run` of each batch, two of them in flight."""
        ...


def check_faces(faces: Faces, info: EngineInfo) -> None:
    """Raise InputError unless ``faces`` is a batch that the engine takes."""
    if not isinstance(faces, np.ndarray):
        raise InputError(f"Faces must be a numpy array, got {type(faces).__name__}.")
    if faces.dtype != np.uint8 or faces.shape[1:] != info.contract.face_shape:
        raise InputError(
            f"Faces must be uint8 {batch_of(info.contract.face_shape)}, "
            f"got {faces.dtype} {faces.shape}.",
            hint="fer_edge.Recognizer takes images of any size.",
        )
    upper = info.max_batch if info.max_batch is not None else len(faces)
    if not info.min_batch <= len(faces) <= max(upper, info.min_batch):
        raise InputError(
            f"This {info.backend} engine takes {info.min_batch} to {info.max_batch or 'any'} "
            f"faces a call, got {len(faces)}.",
            hint="fer_edge.Recognizer splits and pads batches of any size.",
        )


def check_probabilities(probabilities: Probabilities, info: EngineInfo) -> Probabilities:
    """Raise InferenceError unless there is a finite value for every label."""
    labels = len(info.contract.labels)
    if probabilities.shape[1:] != (labels,):
        raise InferenceError(
            f"{info.backend} returned shape {probabilities.shape}, not (N, {labels})."
        )
    if not np.isfinite(probabilities).all():
        raise InferenceError(
            f"{info.backend} returned NaN or infinity at {info.precision}.",
            hint="Export the model again and compare with --precision fp32.",
        )
    return probabilities


def check_shares(probabilities: Probabilities) -> None:
    """Raise InferenceError unless rows are probabilities: none negative, each row's sum 1."""
    lowest, sums = probabilities.min(), probabilities.sum(axis=1)
    worst = sums[np.abs(sums - 1).argmax()]
    if lowest < 0 or abs(worst - 1) > _SUM_TOLERANCE:
        found = f"{lowest:.3g} is among them" if lowest < 0 else f"a face's sum is {worst:.3g}"
        raise InferenceError(
            f"This graph's '{OUTPUT_NAME}' are no probabilities: {found}. Logits, probably.",
            hint="Bring the softmax into the graph with: fer-edge import FILE --logits",
        )


def batch_of(face: tuple[int, ...]) -> str:
    """``(N, 1, 48, 48)``: the shape of a batch of such faces, for messages."""
    return f"(N, {', '.join(map(str, face))})"


def run_all(engine: Engine, faces: Faces | OnGpu, batch: int = 64) -> Probabilities:
    """Classify any number of faces, split and padded into batches that the engine takes.

    Parameters
    ----------
    faces : uint8 array, shape (N, channels, size, size), of gray (N, size, size), too
        As ``engine.describe().contract`` has them; N may be 0. Or such on the engine's GPU.
    batch : int
        Largest batch in one call; lowered to what the engine takes.

    Returns
    -------
    float32 array, shape (N, labels)

    Raises
    ------
    InputError
        Wrong shape or dtype.
    InferenceError
        The backend failed, or returned NaN.
    """
    info = engine.describe()
    contract = info.contract
    if isinstance(faces, OnGpu):
        return _run_on_gpu(engine, faces, min(batch, info.max_batch or batch))
    if faces.shape[1:] not in (contract.crop_shape, contract.face_shape):
        raise InputError(
            f"Faces must be {batch_of(contract.crop_shape)}, got {faces.shape}.",
            hint="fer_edge.Recognizer takes images of any size.",
        )
    faces = faces.reshape(-1, *contract.face_shape)
    batch = max(info.min_batch, min(batch, info.max_batch or batch))
    out = np.empty((len(faces), len(contract.labels)), np.float32)
    for start in range(0, len(faces), batch):
        part = np.ascontiguousarray(faces[start : start + batch])
        n = len(part)
        if n < info.min_batch:
            filler = np.zeros((info.min_batch - n, *part.shape[1:]), np.uint8)
            part = np.concatenate([part, filler])
        out[start : start + n] = engine.run(part)[:n]
    return out


def _run_on_gpu(engine: Engine, faces: OnGpu, batch: int) -> Probabilities:
    """The engine pads what is less than it takes."""
    starts = range(0, faces.number, batch)
    # What runs on a GPU takes what is there in the place of an array.
    parts = [engine.run(cast(Faces, faces.part(start, batch))) for start in starts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
