"""The Python interface: images in, emotions out."""

import contextlib
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS, Contract
from fer_edge.engines import EngineInfo, open_engine, run_all
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.engines.device_array import DeviceArray, is_device_array
from fer_edge.engines.frames import Crops, crop
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.errors import FerEdgeError, InputError, UsageError
from fer_edge.models.published import find_model
from fer_edge.runtime.batching import Batcher
from fer_edge.runtime.capture.camera import Camera
from fer_edge.runtime.detection import Detector, Pixels, RetinaFace, look
from fer_edge.runtime.moment import Moment, SeenFace
from fer_edge.runtime.preprocess import Color, UInt8Array, check_color, to_faces, to_frame
from fer_edge.runtime.smoothing import Smoother
from fer_edge.runtime.sureness import sure_threshold
from fer_edge.runtime.watch import watch


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a Recognizer saw in N faces; iterates as (emotion, its probability) per face.

    An emotion is None where its probability is below ``threshold``.
    """

    probabilities: NDArray[np.float32]
    """Shape (N, classes), in the order of ``classes``; rows sum to 1."""
    classes: tuple[str, ...] = EMOTIONS
    """The labels of the model, by default those of FER2013."""
    threshold: float = 0.0
    """Probability below which no emotion is named, 0..1."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Most probable label of each face, an index into ``classes``, shape (N,)."""
        return self.probabilities.argmax(axis=1).astype(np.int64)

    @property
    def emotions(self) -> list[str | None]:
        """Most probable emotion of each face; None where it is unsure."""
        sure = self.probabilities.max(axis=1, initial=0.0) >= self.threshold
        return [
            self.classes[label] if named else None
            for label, named in zip(self.labels, sure, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.probabilities)

    def __iter__(self) -> Iterator[tuple[str | None, float]]:
        return zip(self.emotions, self.probabilities.max(axis=1).tolist(), strict=True)


class Recognizer:
    """A loaded model that classifies faces. A context manager; callable from any thread.

    Parameters
    ----------
    model : str or Path, optional
        Artifact folder or ONNX file. By default the model that the package carries.
    precision, backend, threads, device, tune
        As in :func:`fer_edge.engines.open_engine`.
    sure : float, optional
        Share of the named emotions that should be right, for example 0.9: others are None. From
        which probability on they are named, the manifest records for faces like those of val. By
        default every face is named.
    batch : int
        Most faces in one call of the engine; bounds the memory that many faces take.
    max_delay_ms : float
        Longest time that the engine stays idle for callers who shared the batch before.
    max_pending : int
        Most faces that wait for the engine at a time.
    on_batch : callable, optional
        Told of every batch: its number of faces, and the seconds that the engine took. Called by
        the thread that ran it, before anyone gets the answers.

    Raises
    ------
    UsageError
        ``batch`` or ``max_pending`` below 1, a negative delay, an unknown precision, backend
        or device, or the manifest records no threshold for ``sure``.
    FerEdgeError
        The model cannot be loaded, as :func:`fer_edge.engines.open_engine` says.

    Examples
    --------
    >>> with Recognizer() as recognizer:
    ...     for emotion, probability in recognizer(crops, color="bgr"):
    ...         print(f"{emotion} {probability:.0%}")
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        precision: str = "auto",
        backend: str = "auto",
        threads: int | None = None,
        device: str = "auto",
        tune: bool = True,
        sure: float | None = None,
        batch: int = 64,
        max_delay_ms: float = 2.0,
        max_pending: int = 512,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        if batch < 1:
            raise UsageError(f"batch must be at least 1, got {batch}.")
        path = find_model(model)
        self._engine = open_engine(
            path,
            precision=precision,
            backend=backend,
            threads=threads,
            device=device,
            tune=tune,
        )
        self._threshold = 0.0
        if sure is not None:
            try:
                self._threshold = sure_threshold(path, self._engine.describe().precision, sure)
            except FerEdgeError:
                self._engine.close()
                raise
        self._batch = batch
        self._on_batch = on_batch
        info = self._engine.describe()
        self._contract = info.contract
        self._gpu = info.gpu
        self._batcher = Batcher(
            self._classify,
            self._prediction,
            max_batch=batch,
            max_delay_ms=max_delay_ms,
            max_pending=max_pending,
        )

    def __call__(
        self, images: UInt8Array | Sequence[UInt8Array], *, color: Color = "rgb"
    ) -> Prediction:
        """Classify any number of faces, none included.

        Parameters
        ----------
        images : uint8 array (N, size, size), or one image, or a list of images of any size
            All forms are in :func:`fer_edge.runtime.to_faces`.
        color : {"rgb", "bgr"}
            Channel order of colour images.

        Raises
        ------
        InputError
            What is not such an image; its index is named.
        InferenceError
            The engine failed, or the Recognizer is closed.
        """
        return self._prediction(self._classify(self._faces(images, color)))

    def submit(
        self,
        images: UInt8Array | Sequence[UInt8Array],
        *,
        color: Color = "rgb",
        source: Hashable | None = None,
        live: bool = False,
    ) -> "Future[Prediction]":
        """Classify faces together with those that other threads hand in.

        Blocks while ``max_pending`` faces wait for the engine, unless ``live``.

        Parameters
        ----------
        images, color
            As for a call; they may change once this returns.
        source, live
            As in :meth:`fer_edge.runtime.batching.Batcher.submit`.

        Returns
        -------
        concurrent.futures.Future
            Cancelled where a live request was given up for a newer one.

        Raises
        ------
        InputError
            What is not such an image.
        InferenceError
            The Recognizer is closed.
        """
        faces = self._faces(images, color)
        if len(faces) == 0:
            nothing: Future[Prediction] = Future()
            nothing.set_result(self._prediction(self._classify(faces)))
            return nothing
        if isinstance(images, np.ndarray) and np.may_share_memory(faces, images):
            # The caller's buffer may hold the next face before the engine has read this one.
            faces = faces.copy()
        return self._batcher.submit(faces, source=source, live=live)

    def find(
        self,
        image: UInt8Array | DeviceArray,
        *,
        detector: Detector | None = None,
        color: Color = "rgb",
    ) -> list[SeenFace]:
        """Find and classify the faces in a photo, in batches shared with other threads.

        Parameters
        ----------
        image : uint8 array, shape (H, W, 3) or (H, W)
            In host memory; or on the GPU that the detector and this run on, as DLPack or the CUDA
            Array Interface have it. It must not change until the answer is there.
        detector : Detector, optional
            By default :class:`fer_edge.runtime.RetinaFace`, which scales large photos down: for
            small faces in them give ``RetinaFace(size=1280)``.
        color : {"rgb", "bgr"}
            Channel order of a colour image.

        Returns
        -------
        list of SeenFace
            In the detector's order, which ``track`` counts; ``probabilities`` are ``raw``.

        Raises
        ------
        MissingDependencyError
            No detector given, and what :class:`fer_edge.runtime.RetinaFace` needs at its first
            use on a machine is not installed.
        InputError
            Not such an image, or the detector gave something else than Detections.
        InferenceError
            The engine failed, or the Recognizer is closed.
        """
        detector = detector or RetinaFace()
        found, pixels = look(detector, self._frame(image, detector, color))
        faces = crop(pixels, [one.box for one in found], self._contract)
        prediction = self._batcher.answer(self._taken(faces))
        return [
            SeenFace(
                *(count, one.box, one.score, int(label), row, row),
                classes=prediction.classes,
                threshold=self._threshold,
            )
            for count, (one, label, row) in enumerate(
                zip(found, prediction.labels, prediction.probabilities, strict=True)
            )
        ]

    def watch(
        self,
        cameras: Camera | Iterable[Camera],
        *,
        detector: Detector | None = None,
        detect_every: int | None = None,
        smooth_seconds: float = 0.2,
        margin: float = 0.2,
        heartbeat: float | None = None,
    ) -> Generator[Moment, None, None]:
        """Find and classify the faces in what cameras see, the newest frame of each in turn.

        Watches in several threads share batches, with each other and with :meth:`submit`. A
        folder's photos are taken each for itself, without tracks or smoothing.

        Parameters
        ----------
        cameras : Camera or iterable of Camera
            A camera can be watched once at a time.
        detector : Detector, optional
            By default :class:`fer_edge.runtime.detection.RetinaFace`.
        detect_every : int, optional
            Frames from one detection to the next; between them faces are expected where they were
            heading. By default 1 for recordings, and for live cameras what keeps up with them.
        smooth_seconds, margin
            As ``seconds`` and ``margin`` of :class:`fer_edge.runtime.smoothing.Smoother`.
        heartbeat : float, optional
            Seconds after which a camera that gave no frame is told of: by a moment without faces,
            with the camera's ``state`` (stalled, lost, ...) and its last frame, whose ``age_ms``
            grows. By default a silent camera yields nothing.

        Yields
        ------
        Moment
            Until every camera is at its end.

        Raises
        ------
        MissingDependencyError
            No detector given, and what :class:`fer_edge.runtime.RetinaFace` needs at its first
            use on a machine is not installed.
        UsageError
            What is no open Camera, none, or one that is watched already; ``detect_every`` below 1,
            a negative smoothing, or a heartbeat of 0 seconds.
        InputError
            The detector gave something else than Detections.
        InferenceError
            The engine failed, or the Recognizer is closed.
        """
        moments = watch(
            lambda faces, live: self._batcher.answer(self._taken(faces), live=live).probabilities,
            cameras,
            detector or RetinaFace(),
            detect_every=detect_every,
            heartbeat=heartbeat,
            smoother=lambda: Smoother(seconds=smooth_seconds, margin=margin),
            contract=self._contract,
        )
        return self._named(moments) if self._threshold else moments

    @property
    def threshold(self) -> float:
        """Probability below which no emotion is named, 0..1."""
        return self._threshold

    @property
    def contract(self) -> Contract:
        """Size and colour of the faces that the model takes, and its labels."""
        return self._contract

    @property
    def dropped(self) -> int:
        """Live requests, those of live cameras among them, that were given up for newer ones."""
        return self._batcher.dropped

    def describe(self) -> EngineInfo:
        """Backend, precision, device and batch range of the loaded engine."""
        return self._engine.describe()

    def _faces(self, images: UInt8Array | Sequence[UInt8Array], color: Color) -> UInt8Array:
        return to_faces(images, color=color, contract=self._contract)

    def _frame(self, image: UInt8Array | DeviceArray, detector: Detector, color: Color) -> Pixels:
        """A photo as detectors take it."""
        if not is_device_array(image):
            return to_frame(cast(UInt8Array, image), color=color)
        check_color(color)
        if isinstance(detector, RetinaFace):
            return detector.place(image, rgb=color == "rgb")
        raise InputError(
            f"A {type(detector).__name__} does not take frames that are on a GPU.",
            hint="Hand over a numpy array of it, or take RetinaFace.",
        )

    def _taken(self, faces: Faces | Crops) -> Faces | Crops:
        """Faces where the engine takes them."""
        if isinstance(faces, Crops) and faces.frame.gpu.index != self._gpu:
            return faces.on_host()
        return faces

    def _prediction(self, probabilities: Probabilities) -> Prediction:
        return Prediction(probabilities, self._contract.labels, self._threshold)

    def _named(self, moments: Generator[Moment, None, None]) -> Generator[Moment, None, None]:
        with contextlib.closing(moments):
            for moment in moments:
                yield moment.with_threshold(self._threshold)

    def _classify(self, faces: Faces | OnGpu) -> Probabilities:
        started = time.perf_counter()
        probabilities = run_all(self._engine, faces, self._batch)
        if self._on_batch is not None and len(faces):
            self._on_batch(len(faces), time.perf_counter() - started)
        return probabilities

    def close(self) -> None:
        """Free the engine after the call in progress. May be called more than once."""
        self._batcher.close()
        self._engine.close()

    def __enter__(self) -> "Recognizer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
