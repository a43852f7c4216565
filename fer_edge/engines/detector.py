"""The detector of an artifact on a network of any backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import PRECISIONS, Precision
from fer_edge.detector_contract import BOXES, FRAMES, LANDMARKS, SCORES, Bucket
from fer_edge.engines.device_name import AUTO, CPU, check_device, gpu_of, runs_on_gpu
from fer_edge.engines.frames import FrameGpu
from fer_edge.engines.network import Network, NetworkInfo
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.onnx_graphs import ORDERS, exact_precisions, on_first
from fer_edge.engines.opened import named, of_file
from fer_edge.engines.openvino import OpenVinoNetwork
from fer_edge.engines.ort import OnnxRuntimeNetwork
from fer_edge.engines.ort_cuda import require_cuda_provider
from fer_edge.engines.picking import Candidates, Surest
from fer_edge.engines.serialised import refusal_of, valid_plan
from fer_edge.engines.tensorrt import (
    PREFERENCE,
    TENSORRT_BACKENDS,
    TensorRTBackend,
    module_version,
)
from fer_edge.engines.tensorrt.network import TensorRTNetwork
from fer_edge.errors import (
    ArtifactError,
    BackendUnavailableError,
    EngineError,
    EngineLoadError,
    InferenceError,
    InputError,
    UsageError,
)

if TYPE_CHECKING:
    from fer_edge.detector_artifact import (
        DetectionScore,
        DetectorArtifact,
        DetectorEngineRecord,
    )

BACKENDS: Final = (*TENSORRT_BACKENDS, "onnxruntime-cuda", "onnxruntime-cpu", "openvino")
"""What runs a detector."""
LEAST_MATCHED: Final = 0.99
"""Share of FP32's faces that a precision has to find again, where that is recorded, for ``"auto"``
to take it."""

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class DetectorInfo:
    """What a detector's engine is and where it runs."""

    network: NetworkInfo
    bucket: Bucket
    """Size of the frames that it takes."""
    file: str | None = None
    """What was loaded of the artifact, relative to it."""
    passed_over: tuple[str, ...] = ()
    """What would have been taken before, and why not."""
    most_frames: int | None = None
    """Largest batch in one call; None where any goes."""


class DetectorEngine:
    """Runs a network that has the signature of :mod:`fer_edge.detector_contract`, and owns it.

    Any thread may call it.

    Raises
    ------
    EngineLoadError
        The network has another signature; it is closed.
    """

    def __init__(
        self, network: Network, *, file: str | None = None, passed_over: tuple[str, ...] = ()
    ) -> None:
        info = network.describe()
        try:
            bucket = _bucket(info)
        except EngineLoadError:
            network.close()
            raise
        self._network = network
        self._shape = (bucket.height, bucket.width, 3)
        # TensorRT takes larger batches in parts, which gain nothing.
        most = (
            network.buckets[-1] if isinstance(network, TensorRTNetwork) else info.inputs[0].shape[0]
        )
        self._info = DetectorInfo(info, bucket, file, passed_over, most)

    def describe(self) -> DetectorInfo:
        """What it is and where it runs."""
        return self._info

    def run(self, frames: Frames) -> Candidates:
        """Look for faces in a batch of frames.

        Parameters
        ----------
        frames : uint8 array, shape (N, height, width, 3), BGR
            Of ``describe().bucket``; what is smaller lies in the upper left corner.

        Returns
        -------
        Candidates
            Of all anchors of all frames, before any is left out: arrays with a first axis of N.

        Raises
        ------
        InputError
            Another dtype or shape.
        InferenceError
            The backend failed, or a score is no number.
        """
        if frames.dtype != np.uint8 or frames.shape[1:] != self._shape or not len(frames):
            shape = ", ".join(map(str, ("N", *self._shape)))
            raise InputError(f"Frames must be uint8 ({shape}), got {frames.dtype} {frames.shape}.")
        found = self._network.compute({FRAMES: frames})
        return self._checked(Candidates(found[BOXES], found[SCORES], found[LANDMARKS]))

    def look(self, frames: OnGpu, gpu: FrameGpu, least: float) -> list[Candidates]:
        """Look for faces in frames on the GPU that the network runs on.

        Parameters
        ----------
        frames : OnGpu
            As :meth:`run` takes them.
        gpu : FrameGpu
            Where they are.
        least : float
            Less sure anchors stay on the GPU.

        Returns
        -------
        list of Candidates
            Of each frame what is left, in the order of the anchors.

        Raises
        ------
        InferenceError
            As :meth:`run`.
        """
        pick = Surest(gpu, self._info.bucket.anchors, least)
        found: list[Candidates] = self._network.compute_picked({FRAMES: frames}, pick)
        return [self._checked(one) for one in found]

    def _checked(self, found: Candidates) -> Candidates:
        if np.isnan(found.scores).any():
            info = self._info.network
            raise InferenceError(
                f"{info.backend} returned NaN at {info.precision}.",
                hint="Make the detector again with: fer-edge detector",
            )
        return found

    def close(self) -> None:
        """Free the network once calls under way have ended."""
        self._network.close()

    def __enter__(self) -> DetectorEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _bucket(info: NetworkInfo) -> Bucket:
    """Size of the frames that a network takes; EngineLoadError if it is no detector."""
    frames = info.inputs[0] if len(info.inputs) == 1 else None
    if frames is not None and frames[:2] == (FRAMES, "uint8") and len(frames.shape) == 4:
        _, height, width, channels = frames.shape
        if height is not None and width is not None and channels == 3:
            bucket = Bucket(width, height)
            outputs = {tensor.name: tensor for tensor in info.outputs}
            wanted = {BOXES: (4,), SCORES: (), LANDMARKS: (10,)}
            if outputs.keys() == wanted.keys() and all(
                outputs[name].dtype == "float32"
                and outputs[name].shape[1:] == (bucket.anchors, *row)
                for name, row in wanted.items()
            ):
                return bucket
    have = " to ".join(", ".join(map(str, some)) for some in (info.inputs, info.outputs))
    raise EngineLoadError(
        f"This graph takes {have}, and is no detector.",
        hint="Make one with: fer-edge detector --out FOLDER",
    )


def open_detector(
    artifact: DetectorArtifact,
    bucket: Bucket,
    *,
    precision: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    device: str = AUTO,
) -> DetectorEngine:
    """Open a detector for frames of one size.

    Parameters
    ----------
    artifact : DetectorArtifact
    bucket : Bucket
        One of ``artifact.buckets``.
    precision : {"auto", "fp32", "fp16", "int8"}
        ``"auto"`` takes the first that there is, and that finds :data:`LEAST_MATCHED` of FP32's
        faces where that is recorded, of: int8, fp32, fp16 on the CPU; fp16, fp32, int8 in ONNX
        Runtime on CUDA; of engines as :func:`fer_edge.engines.open_engine` does.
    backend, threads, device
        As in :func:`fer_edge.engines.open_engine`.

    Raises
    ------
    UsageError
        An unknown precision, backend or device, or a backend that does not run on the device.
    ArtifactError
        The artifact is damaged, or was made without the precision or the size.
    BackendUnavailableError
        This machine cannot run the backend that was asked for.
    EngineLoadError
        The graph cannot be loaded, or is no detector's.
    """
    if precision not in ("auto", *PRECISIONS):
        raise UsageError(
            f"Unknown precision {precision!r}.", hint=f"Take auto, {', '.join(PRECISIONS)}."
        )
    if backend not in ("auto", *BACKENDS):
        raise UsageError(
            f"{backend!r} runs no detector.", hint=f"Take auto, {', '.join(BACKENDS)}."
        )
    check_device(device, backend)
    wanted = None if precision == "auto" else cast(Precision, precision)
    passed_over: list[EngineError] = []
    if backend in ("auto", *TENSORRT_BACKENDS) and device != CPU:
        engine = _open_serialised(artifact, bucket, wanted, backend, gpu_of(device), passed_over)
        if engine is not None:
            return engine

    def opened(name: str, make: Callable[[bytes], Network]) -> DetectorEngine:
        chosen = wanted or _preferred(artifact, name)
        record = artifact.graph(chosen, bucket)
        file = record.file if runs_on_gpu(name) else record.cpu_file or record.file
        path = artifact.folder / file
        reasons = tuple(error.message for error in passed_over)
        with named(path):
            engine = DetectorEngine(make(artifact.read(file)), file=file, passed_over=reasons)
        info = engine.describe()
        if (info.network.precision, info.bucket) != (chosen, bucket):
            engine.close()
            raise ArtifactError(
                f"The manifest gives {path} as {chosen} for {bucket}, and it is "
                f"{info.network.precision} for {info.bucket}.",
                hint=artifact.remade(),
            )
        return engine

    def on_cuda() -> DetectorEngine:
        require_cuda_provider()
        gpu = f"cuda:{gpu_of(device)}"
        return opened("onnxruntime-cuda", lambda graph: OnnxRuntimeNetwork(graph, device=gpu))

    return on_first(
        backend,
        device,
        on_cuda,
        lambda: opened("onnxruntime-cpu", lambda g: OnnxRuntimeNetwork(g, threads=threads)),
        lambda: opened("openvino", lambda graph: OpenVinoNetwork(graph, threads=threads)),
        passed_over,
    )


def _open_serialised(
    artifact: DetectorArtifact,
    bucket: Bucket,
    precision: Precision | None,
    backend: str,
    ordinal: int,
    passed_over: list[EngineError],
) -> DetectorEngine | None:
    """The first engine for this size that this machine can run; None if "auto" has none to take.

    Why others cannot be had is added to ``passed_over``.
    """
    for record in _ranked(artifact, bucket, precision, backend):
        refusal: EngineError | None = refusal_of(record, ordinal, "fer-edge detector")
        if refusal is None:
            reasons = tuple(error.message for error in passed_over)
            try:
                network = TensorRTNetwork(
                    valid_plan(artifact, record, ordinal),
                    record.backend,
                    precision=record.precision,
                    device=ordinal,
                )
                return DetectorEngine(network, file=record.file, passed_over=reasons)
            except EngineError as error:
                refusal = error
        passed_over.append(of_file(record.file, refusal))
    if backend == "auto":
        return None
    if passed_over:
        raise passed_over[0]
    module_version(cast(TensorRTBackend, backend))
    raise BackendUnavailableError(
        f"{artifact.folder} has no {precision or 'such'} engine for {backend} and frames of "
        f"{bucket}.",
        hint=f"Build one with: fer-edge detector --engine {backend} --size {bucket} --out FOLDER",
    )


def _ranked(
    artifact: DetectorArtifact, bucket: Bucket, precision: Precision | None, backend: str
) -> Iterator[DetectorEngineRecord]:
    """Engines to try, the preferred first."""
    scores = artifact.manifest.scores
    for flavour in TENSORRT_BACKENDS:
        if backend not in ("auto", flavour):
            continue
        records = {
            record.precision: record
            for record in artifact.manifest.engines
            if record.backend == flavour and record.size == str(bucket)
        }
        for chosen in PREFERENCE[flavour] if precision is None else (precision,):
            if chosen in records and (precision or _holds(scores.get(chosen))):
                yield records[chosen]


def _preferred(artifact: DetectorArtifact, backend: str) -> Precision:
    order, _ = exact_precisions(artifact, ORDERS[backend], backend)
    scores = artifact.manifest.scores
    for precision in order:
        if precision in artifact.precisions and _holds(scores.get(precision)):
            return precision
    return "fp32"


def _holds(score: DetectionScore | None) -> bool:
    return score is None or score.matched is None or score.matched >= LEAST_MATCHED
