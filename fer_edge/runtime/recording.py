"""Every frame of a recording, as fast as it goes."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import NamedTuple

import numpy as np

from fer_edge.contract import FER2013, Contract
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.errors import UsageError
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_faces
from fer_edge.runtime.capture import Camera, Frame
from fer_edge.runtime.detection import Detection, Detector, detect, frames_at_once
from fer_edge.runtime.moment import Moment, SeenFace
from fer_edge.runtime.smoothing import Smoother
from fer_edge.runtime.tracking import Tracker

_MOST_FRAMES, _MOST_PIXELS = 16, 24_000_000
"""That wait for their faces to fill a batch: they take memory."""


def analyze(
    classify: Callable[[Faces], Probabilities],
    recording: Camera,
    detector: Detector,
    *,
    detect_every: int = 1,
    smooth_seconds: float = 0.2,
    fps: float | None = None,
    batch: int = 32,
    contract: Contract = FER2013,
) -> Iterator[Moment]:
    """Yield what every frame of a recording shows, in order.

    What :func:`fer_edge.runtime.watch.watch` does for recordings too, but with frames read ahead,
    faces looked for in several frames at a time, and those of several frames in one batch. Faces
    that the detector misses are not held.

    Images without a time (a folder, without ``fps``) are taken each for itself: nothing is smoothed
    from one to the next, and tracks count the faces of an image.

    Parameters
    ----------
    classify : callable
        From uint8 faces (N, *contract.crop_shape) to float32 probabilities (N, labels).
    recording : Camera
        Not live.
    detector : Detector
        Called from as many threads at a time as it allows with ``at_once``.
    detect_every : int
        Frames from one detection to the next; between them faces are expected where they were
        heading. Images without a time are looked at one and all.
    smooth_seconds : float
        As ``seconds`` of :class:`fer_edge.runtime.smoothing.Smoother`.
    fps : float, optional
        Rate of images that have no time.
    batch : int
        Faces that go to the engine together.
    contract : Contract
        Of the model that classifies.

    Raises
    ------
    UsageError
        A live camera, ``detect_every`` below 1, ``fps`` not above 0, or negative smoothing.
    """
    if recording.live:
        raise UsageError(
            f"{recording.name} is live: it has no last frame.", hint="Watch it instead."
        )
    if detect_every < 1:
        raise UsageError(f"detect_every must be at least 1, got {detect_every}.")
    if fps is not None and not fps > 0:
        raise UsageError(f"fps must be above 0, got {fps}.")
    follower = _Follower(smooth_seconds, contract)
    return _analyze(classify, recording, detector, follower, detect_every, fps, batch)


class _Found(NamedTuple):
    """The faces of a frame, before they are classified."""

    frame: Frame
    boxes: Sequence[Box]
    tracks: Sequence[int]
    scores: Sequence[float | None]
    alive: frozenset[int]


class _Follower:
    """Tracks and smoothing of a recording; of images without a time, afresh for each."""

    def __init__(self, smooth_seconds: float, contract: Contract) -> None:
        self.contract = contract
        self._seconds = smooth_seconds
        self._tracker = Tracker()
        self._smoother = Smoother(seconds=smooth_seconds)

    def follow(self, frame: Frame, detections: Sequence[Detection] | None) -> _Found:
        now = frame.position
        if now is None:
            self._tracker, now = Tracker(), 0.0
        if detections is None:
            expected = self._tracker.predict(now)
            boxes, tracks = [*expected.values()], [*expected]
            scores: list[float | None] = [None] * len(boxes)
        else:
            boxes = [one.box for one in detections]
            scores = [one.score for one in detections]
            tracks = self._tracker.update(boxes, now)
        return _Found(frame, boxes, tracks, scores, self._tracker.alive)

    def see(self, found: _Found, probabilities: Probabilities) -> Moment:
        now = found.frame.position
        if now is None:
            self._smoother, now = Smoother(seconds=self._seconds), 0.0
        faces = []
        for box, track, score, raw in zip(
            found.boxes, found.tracks, found.scores, probabilities, strict=True
        ):
            smooth, label = self._smoother.update(track, raw, now)
            faces.append(
                SeenFace(*(track, box, score, label, smooth, raw), classes=self.contract.labels)
            )
        self._smoother.keep(found.alive)
        return Moment(found.frame, faces, monotonic(), classes=self.contract.labels)


def _analyze(
    classify: Callable[[Faces], Probabilities],
    recording: Camera,
    detector: Detector,
    follower: _Follower,
    detect_every: int,
    fps: float | None,
    batch: int,
) -> Iterator[Moment]:
    contract = follower.contract
    waiting: list[_Found] = []
    crops: list[Faces] = []

    def classified() -> Iterator[Moment]:
        nothing = np.empty((0, *contract.crop_shape), np.uint8)
        faces = np.concatenate([nothing, *crops])
        probabilities = classify(faces)
        start = 0
        for found in waiting:
            end = start + len(found.boxes)
            yield follower.see(found, probabilities[start:end])
            start = end
        waiting.clear()
        crops.clear()

    for frame, detections in _detected(recording, detector, detect_every, fps):
        found = follower.follow(frame, detections)
        waiting.append(found)
        crops.append(crop_faces(frame.image, found.boxes, contract))
        pixels = sum(one.frame.image.size for one in waiting) / 3
        if sum(map(len, crops)) >= batch or len(waiting) == _MOST_FRAMES or pixels > _MOST_PIXELS:
            yield from classified()
    yield from classified()


def _detected(
    recording: Camera, detector: Detector, every: int, fps: float | None
) -> Iterator[tuple[Frame, list[Detection] | None]]:
    """Frames in order with what the detector found; None where it was not asked."""
    workers = frames_at_once(detector)
    ahead: deque[tuple[Frame, Future[list[Detection]] | None]] = deque()

    def next_one() -> tuple[Frame, list[Detection] | None]:
        frame, found = ahead.popleft()
        return frame, None if found is None else found.result()

    with ThreadPoolExecutor(workers, "fer-edge detection") as pool:
        for frame in recording:
            if fps is not None and frame.position is None:
                frame = dataclasses.replace(frame, position=frame.index / fps)
            # An image without a time has none before it whose faces it could follow.
            asked = frame.index % every == 0 or frame.position is None
            ahead.append((frame, pool.submit(detect, detector, frame.image) if asked else None))
            if len(ahead) > 2 * workers:
                yield next_one()
        while ahead:
            yield next_one()
