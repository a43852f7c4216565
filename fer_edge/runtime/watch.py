"""From frames to moments: detect, follow, classify, smooth."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

from fer_edge.data.face_crop import Box
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.errors import UsageError
from fer_edge.runtime.capture import Camera, Frame, frames_of
from fer_edge.runtime.cropping import crop_faces
from fer_edge.runtime.detection import Detector
from fer_edge.runtime.moment import Moment, SeenFace
from fer_edge.runtime.smoothing import Smoother
from fer_edge.runtime.tracking import Tracker

MOST_FRAMES_UNDETECTED = 10
_SHARE_OF_NEWEST = 0.2
"""Of the newest measurement in the running means of times."""


def watch(
    classify: Callable[[Faces], Probabilities],
    cameras: Sequence[Camera],
    detector: Detector,
    *,
    detect_every: int | None = None,
    smoother: Callable[[], Smoother] = Smoother,
) -> Iterator[Moment]:
    """Yield what the newest frames of ``cameras`` show, in turn, until all are at their end.

    Parameters
    ----------
    classify : callable
        From uint8 faces (N, 48, 48) to float32 probabilities (N, 7).
    cameras, detector, detect_every
        As in :meth:`fer_edge.Recognizer.watch`.
    smoother : callable
        Makes the smoother of a camera.

    Raises
    ------
    UsageError
        ``detect_every`` below 1.
    """
    if detect_every is not None and detect_every < 1:
        raise UsageError(f"detect_every must be at least 1, got {detect_every}.")
    streams = {
        id(camera): _Stream(
            classify,
            detector,
            smoother(),
            every=detect_every or (None if camera.live else 1),
            cameras=len(cameras),
        )
        for camera in cameras
    }
    return (streams[id(camera)].see(frame) for camera, frame in frames_of(cameras))


class _Stream:
    """What is remembered of one camera."""

    def __init__(
        self,
        classify: Callable[[Faces], Probabilities],
        detector: Detector,
        smoother: Smoother,
        *,
        every: int | None,
        cameras: int,
    ) -> None:
        self._classify = classify
        self._detector = detector
        self._tracker = Tracker()
        self._smoother = smoother
        self._every = every
        self._cameras = cameras
        self._undetected = math.inf
        self._before: Frame | None = None
        self._interval = _Mean()
        self._detecting = _Mean()
        self._classifying = _Mean()

    def see(self, frame: Frame) -> Moment:
        now = frame.captured if frame.position is None else frame.position
        if self._before is not None:
            passed = frame.index - self._before.index
            self._interval.add((frame.captured - self._before.captured) / max(passed, 1))
        self._before = frame
        self._undetected += 1
        started = time.perf_counter()
        scores: list[float] | list[None]
        if self._undetected >= (self._every or self._frames_to_next()):
            self._undetected = 0
            found = self._detector(frame.image)
            self._detecting.add(time.perf_counter() - started)
            boxes: list[Box] = [detection.box for detection in found]
            scores = [detection.score for detection in found]
            tracks = self._tracker.update(boxes, now)
        else:
            expected = self._tracker.predict(now)
            boxes, tracks, scores = [*expected.values()], [*expected], [None] * len(expected)
        started = time.perf_counter()
        faces: list[SeenFace] = []
        if boxes:
            probabilities = self._classify(crop_faces(frame.image, boxes))
            self._classifying.add(time.perf_counter() - started)
            for track, box, score, raw in zip(tracks, boxes, scores, probabilities, strict=True):
                smooth, label = self._smoother.update(track, raw, now)
                faces.append(SeenFace(track, box, score, label, smooth, raw))
        self._smoother.keep(self._tracker.alive)
        return Moment(frame, faces, time.monotonic())

    def _frames_to_next(self) -> int:
        """How many frames a detection may serve so that the cameras are kept up with."""
        budget = self._interval.value / self._cameras - self._classifying.value
        if budget <= 0:
            return MOST_FRAMES_UNDETECTED if self._detecting.value else 1
        return min(max(math.ceil(self._detecting.value / budget), 1), MOST_FRAMES_UNDETECTED)


class _Mean:
    """A running mean in seconds; 0 before the first value."""

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, seconds: float) -> None:
        share = _SHARE_OF_NEWEST if self.value else 1.0
        self.value += share * (seconds - self.value)
