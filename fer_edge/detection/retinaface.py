"""The default detector."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fer_edge.detection.base import Detection, Image, Pixels
from fer_edge.detection.gathering import Gathering
from fer_edge.detection.letterbox import (
    best_bucket,
    largest_size,
    letterboxed,
    letterboxed_there,
    scale_into,
    standard_bucket,
)
from fer_edge.detection.making import made_detector, require_maker
from fer_edge.detection.suppression import surest
from fer_edge.detector_artifact import DetectorArtifact
from fer_edge.detector_contract import STRIDES, Bucket
from fer_edge.engines.detector import DetectorEngine, open_detector
from fer_edge.engines.device_array import DeviceArray, is_device_array
from fer_edge.engines.device_name import AUTO, CPU
from fer_edge.engines.frames import GpuFrame, Resampled, frames_on
from fer_edge.engines.on_gpu import Joined
from fer_edge.engines.picking import Candidates
from fer_edge.engines.processor import available_cores
from fer_edge.errors import InputError, UsageError
from fer_edge.forking import watch_forks
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.checks import check_image

_MAX_IOU = 0.4
"""From which overlap on two boxes are of one face, as in the paper."""

_MOST_AT_ONCE = 8
"""Frames that are in memory at once; what classifies keeps up with no more."""


class RetinaFace:
    """The default: RetinaFace with MobileNet weights, on an engine of an artifact.

    Deng et al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild", CVPR 2020.

    Any thread may call it, several at once. A call that is alone takes all cores; calls beside one
    another take one each, which is faster for all of them together.

    Parameters
    ----------
    artifact : str or Path, optional
        Made by ``fer-edge detector``. By default one that is made at the first use on a machine,
        for the sizes of frames that come, and kept in :func:`fer_edge.files.cache_folder`.
    min_score : float
        Less sure faces are left out, 0..1.
    size : int
        Frames are scaled down so that their larger side is at most so many pixels. The detector's
        time grows with the area; faces below about 16 pixels at that scale are missed.
    precision, backend, threads, device
        As in :func:`fer_edge.engines.detector.open_detector`.

    Raises
    ------
    MissingDependencyError
        The default artifact was not made on this machine yet, and what makes it is not installed.
    UsageError
        A size or a score that cannot be meant.
    ArtifactError
        ``artifact`` is none of a detector, or damaged.
    """

    def __init__(
        self,
        artifact: str | Path | None = None,
        *,
        min_score: float = 0.7,
        size: int = 640,
        precision: str = "auto",
        backend: str = "auto",
        threads: int | None = None,
        device: str = AUTO,
    ) -> None:
        if size < STRIDES[-1]:
            raise UsageError(f"A detector size of {size} pixels is too small.", hint="Give 640.")
        if size > largest_size():
            raise UsageError(
                f"A detector size of {size} pixels is too large.", hint=f"Give {largest_size()}."
            )
        if not 0 <= min_score <= 1:
            raise UsageError(f"A least score of {min_score} is not from 0 to 1.", hint="Give 0.7.")
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}.")
        self._artifact = None if artifact is None else DetectorArtifact.load(Path(artifact))
        if self._artifact is None:
            require_maker()
        self._min_score = min_score
        self._size = size
        self._opened = {
            "precision": precision, "backend": backend, "device": device
        }  # fmt: skip
        self._threads = threads
        self._calls = _Calls()
        self._at_once = min(threads or available_cores(), _MOST_AT_ONCE)

    @property
    def at_once(self) -> int:
        """How many calls beside one another make use of the processor, or of the GPU.

        Of a GPU as many as go through it together, from the first frame that it has looked at.
        """
        return self._at_once

    def __call__(self, image: Pixels | DeviceArray) -> list[Detection]:
        """Find the faces in a frame, the surest first.

        Parameters
        ----------
        image : uint8 array, shape (H, W, 3) in BGR, or (H, W)
            In host memory; or, for an engine on a GPU, there: as DLPack or the CUDA Array Interface
            have it, or as :meth:`place` gave it.

        Raises
        ------
        InputError
            Another dtype or shape, or on a GPU where the engine is not.
        EngineError
            The engine cannot be opened, or failed.
        ModelError
            The default artifact cannot be made.
        """
        height, width = _size_of(image)
        with self._calls.counted() as alone:
            opened = self._shared_engine(width, height, alone)
            pixels = opened.placed(image, rgb=False)
            bucket = opened.engine.describe().bucket
            scale = scale_into(width, height, bucket, self._size)
            if isinstance(pixels, GpuFrame):
                boxes, scores, landmarks = opened.look(pixels, scale, self._min_score)
            else:
                found = opened.engine.run(letterboxed(pixels, bucket, scale))
                boxes, scores, landmarks = (one[0] for one in found)
        kept = surest(boxes, scores, min_score=self._min_score, max_iou=_MAX_IOU)
        return [
            _detection(box, float(score), points)
            for box, score, points in zip(
                boxes[kept] / scale, scores[kept], landmarks[kept] / scale, strict=True
            )
        ]

    def place(self, image: Pixels | DeviceArray, *, rgb: bool = False) -> Pixels:
        """The frame where it is looked at: a GPU's where an engine there takes such frames.

        Nothing is sent before it is needed. What is cut out of a frame on a GPU is cut out there.

        Parameters
        ----------
        image
            As for a call.
        rgb : bool
            The channels of an array on a GPU are red, green, blue.

        Raises
        ------
        InputError, EngineError, ModelError
            As a call.
        """
        height, width = _size_of(image)
        if self._opened["device"] == CPU and isinstance(image, np.ndarray):
            return image
        return self._shared_engine(width, height, alone=True).placed(image, rgb=rgb)

    def _shared_engine(self, width: int, height: int, alone: bool) -> "_Opened":
        artifact = self._artifact
        if artifact is None:
            bucket = standard_bucket(width, height, self._size)
        else:
            bucket = best_bucket(width, height, artifact.buckets, self._size)
        opened = _shared.engine(artifact, bucket, self._threads if alone else 1, **self._opened)
        if opened.gpu is not None:
            self._at_once = _MOST_AT_ONCE
        return opened


def _size_of(image: Pixels | DeviceArray) -> tuple[int, int]:
    """Height and width of a frame anywhere, which is checked as far as its place allows."""
    if not isinstance(image, GpuFrame) and is_device_array(image):
        interface = getattr(image, "__cuda_array_interface__", {})
        shape = tuple(map(int, getattr(image, "shape", interface.get("shape", ()))))
        if len(shape) not in (2, 3) or 0 in shape:
            raise InputError(f"A frame on the GPU must be uint8 (H, W, 3) or (H, W), got {shape}.")
        return shape[0], shape[1]
    if not isinstance(image, GpuFrame):
        check_image(image, "The frame")
    height, width = cast(Pixels, image).shape[:2]
    return height, width


def _detection(box: NDArray[np.float32], score: float, points: NDArray[np.float32]) -> Detection:
    x0, y0, x1, y1 = map(float, box)
    pairs = points.reshape(-1, 2).tolist()
    return Detection(Box(x0, y0, x1 - x0, y1 - y0), score, tuple((x, y) for x, y in pairs))


class _Calls:
    """Counts calls under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        watch_forks(self)

    def after_fork(self) -> None:
        """In a child no call is under way, and the lock may be held by nobody."""
        self._lock, self._number = threading.Lock(), 0

    @contextmanager
    def counted(self) -> Iterator[bool]:
        """Count one within the block; whether it is alone as it begins."""
        with self._lock:
            self._number += 1
            alone = self._number == 1
        try:
            yield alone
        finally:
            with self._lock:
                self._number -= 1


class _Opened:
    """An engine, and how frames come to it where it is on a GPU."""

    def __init__(self, engine: DetectorEngine) -> None:
        self.engine = engine
        info = engine.describe()
        self.gpu = frames_on(info.network.gpu)
        """Where frames are sent; None on a processor, or where a GPU takes none."""
        self._bucket = info.bucket
        self._gathered = Gathering(self._run, info.most_frames or _MOST_AT_ONCE)

    def placed(self, image: Pixels | DeviceArray, *, rgb: bool) -> Pixels:
        """A frame where it is looked at."""
        if isinstance(image, GpuFrame):
            return image if image.gpu is self.gpu else self.placed(image.on_host(), rgb=False)
        if self.gpu is not None:
            return GpuFrame(image, self.gpu, rgb=rgb)
        if is_device_array(image):
            raise InputError(
                "This frame is on a GPU, and the detector does not take it from there.",
                hint="Hand over a numpy array of it, or give the detector device='cuda'.",
            )
        return cast(Image, image)

    def look(self, frame: GpuFrame, scale: float, least: float) -> Candidates:
        """What is as sure as ``least`` in a frame, or a little less; beside those of others."""
        batch = letterboxed_there(frame, self._bucket, scale)
        batch.send()  # while the GPU looks at others
        return self._gathered((batch, least))

    def _run(self, asked: Sequence[tuple[Resampled, float]]) -> list[Candidates]:
        batches = [batch for batch, _ in asked]
        assert self.gpu is not None
        return self.engine.look(
            batches[0] if len(batches) == 1 else Joined(batches),
            self.gpu,
            min(least for _, least in asked),
        )


class _SharedEngines:
    """Engines of all detectors of this process, which are opened at their first use.

    A child forgets them, as their threads are the parent's, and opens its own.
    """

    def __init__(self) -> None:
        self._forget()
        watch_forks(self)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[tuple[object, ...], _Opened] = {}

    def after_fork(self) -> None:
        self._forget()

    def engine(
        self,
        artifact: DetectorArtifact | None,
        bucket: Bucket,
        threads: int | None,
        **options: str,
    ) -> _Opened:
        """The engine for frames of one size, of the default artifact where none is given."""
        of_all = (_identity(artifact), bucket, *options.values())
        key = (*of_all, threads)
        engine = self._engines.get(of_all) or self._engines.get(key)
        if engine is None:
            with self._lock:
                engine = self._engines.get(of_all) or self._engines.get(key)
                if engine is None:
                    made = made_detector(bucket) if artifact is None else artifact
                    engine = _Opened(open_detector(made, bucket, threads=threads, **options))
                    # On a GPU the number of threads makes no difference.
                    on_gpu = engine.engine.describe().network.gpu is not None
                    self._engines[of_all if on_gpu else key] = engine
        return engine


def _identity(artifact: DetectorArtifact | None) -> tuple[object, ...]:
    """Of what is in the files, as a folder may be made anew."""
    if artifact is None:
        return ()
    files = artifact.manifest.files
    return artifact.folder.absolute(), *(files[name].sha256 for name in sorted(files))


_shared = _SharedEngines()
