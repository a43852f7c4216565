"""From frames to moments: detect, follow, classify, smooth."""

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from weakref import WeakSet

import numpy as np

from fer_edge.contract import FER2013, Contract
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.errors import UsageError
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_faces
from fer_edge.runtime.capture import Camera, Frame, State
from fer_edge.runtime.detection import Detector, detect
from fer_edge.runtime.moment import Moment, SeenFace, blank_frame
from fer_edge.runtime.smoothing import Smoother
from fer_edge.runtime.tracking import Tracker

MOST_FRAMES_UNDETECTED = 10
_SHARE_OF_NEWEST = 0.2
"""Of the newest measurement in the running means of times."""
_LOOK_AGAIN = 0.5
"""Seconds after which silent cameras are looked at without being told to."""
_FRESH = 1.8
"""Times of an answer that a frame may have waited and still count as fresh."""

_watched: WeakSet[Camera] = WeakSet()
_watching = threading.Lock()


def watch(
    classify: Callable[[Faces, bool], Probabilities],
    cameras: Camera | Iterable[Camera],
    detector: Detector,
    *,
    detect_every: int | None = None,
    heartbeat: float | None = None,
    smoother: Callable[[], Smoother] = Smoother,
    contract: Contract = FER2013,
) -> Generator[Moment, None, None]:
    """Yield what the newest frames of ``cameras`` show until all are at their end.

    The cameras take turns, fresh frames first; see :func:`_next`.

    A frame is answered before that of the next camera is read. Frames of several cameras in one
    batch gain nothing here: the first would wait for the detections of the others (of four cameras
    at 30 fps on two cores, the median age rises from 32 to 56 ms for 4 % more frames), and where
    none is detected, a shared batch makes up for the wait at best.

    Parameters
    ----------
    classify : callable
        From uint8 faces (N, *contract.crop_shape) and whether they are live to float32
        probabilities (N, labels). It may raise CancelledError where live ones were given up: their
        frame is passed over. Where there are no faces or no frames it is called with none, so that
        a closed engine is noticed.
    cameras, detector, detect_every, heartbeat
        As in :meth:`fer_edge.Recognizer.watch`.
    smoother : callable
        Makes the smoother of a camera.
    contract : Contract
        Of the model that classifies.

    Raises
    ------
    UsageError
        As :meth:`fer_edge.Recognizer.watch` says.
    """
    if detect_every is not None and detect_every < 1:
        raise UsageError(f"detect_every must be at least 1, got {detect_every}.")
    if heartbeat is not None and not heartbeat > 0:
        raise UsageError(f"heartbeat must be above 0 seconds, got {heartbeat}.")
    watched = _checked(cameras)
    streams = [
        _Stream(classify, camera, detector, smoother, detect_every, len(watched), contract)
        for camera in watched
    ]
    return _moments(streams, heartbeat)


def _checked(cameras: Camera | Iterable[Camera]) -> list[Camera]:
    several = isinstance(cameras, Iterable) and not isinstance(cameras, Camera | str)
    found: list[Camera] = []
    for camera in cameras if several else [cameras]:
        if not isinstance(camera, Camera):
            raise UsageError(
                f"A Camera can be watched, {type(camera).__name__} cannot.",
                hint="Open it first: with Camera(…) as camera.",
            )
        found.append(camera)
    if not found:
        raise UsageError("There is no camera to watch.", hint="Give one at least.")
    if len(set(found)) < len(found):
        raise UsageError("A camera is there twice.", hint="Give each once.")
    return found


class _Stream:
    """What is remembered of one camera."""

    def __init__(
        self,
        classify: Callable[[Faces, bool], Probabilities],
        camera: Camera,
        detector: Detector,
        smoother: Callable[[], Smoother],
        every: int | None,
        cameras: int,
        contract: Contract,
    ) -> None:
        self._contract = contract
        self.camera = camera
        self._started = time.monotonic()
        self.served = self._started
        """When a frame of it was last answered."""
        self.told = self._started
        """When something was last told of it."""
        self._counted = not camera.live and camera.length is not None
        self._classify = classify
        self._detector = detector
        self._new_smoother = smoother
        self._every = every or (None if camera.live else 1)
        self._cameras = cameras
        self._forget()
        self._before: Frame | None = None
        self._interval = _Mean()
        self._detecting = _Mean()
        self._classifying = _Mean()

    def _forget(self) -> None:
        self._tracker = Tracker()
        self._smoother = self._new_smoother()
        self._faces: dict[int, SeenFace] = {}
        self._undetected = math.inf

    def see(self, frame: Frame) -> Moment | None:
        """What a frame shows; None where its faces were given up."""
        # What has a length but no times is a folder, whose photos have nothing to do with another.
        if self._counted and frame.position is None:
            self._forget()
        now = frame.time
        if self._before is not None:
            passed = frame.index - self._before.index
            self._interval.add((frame.captured - self._before.captured) / max(passed, 1))
        self._before = frame
        self._undetected += 1
        boxes: list[Box]
        scores: list[float] | list[None]
        started = time.perf_counter()
        if self._undetected >= (self._every or self._frames_to_next()):
            self._undetected = 0
            found = detect(self._detector, frame.image)
            self._detecting.add(time.perf_counter() - started)
            boxes = [detection.box for detection in found]
            scores = [detection.score for detection in found]
            tracks = self._tracker.update(boxes, now)
        else:
            expected = self._tracker.predict(now)
            boxes, tracks, scores = [*expected.values()], [*expected], [None] * len(expected)
        started = time.perf_counter()
        try:
            crops = crop_faces(frame.image, boxes, self._contract)
            probabilities = self._classify(crops, self.camera.live)
        except CancelledError:
            return None
        if boxes:
            self._classifying.add(time.perf_counter() - started)
        faces: list[SeenFace] = []
        for track, box, score, raw in zip(tracks, boxes, scores, probabilities, strict=True):
            smooth, label = self._smoother.update(track, raw, now)
            faces.append(
                SeenFace(*(track, box, score, label, smooth, raw), classes=self._contract.labels)
            )
        faces += [
            dataclasses.replace(self._faces[track], box=box, score=None, seen=False)
            for track, box in self._tracker.missed(now).items()
            if track in self._faces
        ]
        self._faces = {face.track: face for face in faces}
        self._smoother.keep(self._tracker.alive)
        self.told = time.monotonic()
        return Moment(frame, faces, self.told, classes=self._contract.labels)

    @property
    def silent(self) -> bool:
        """It is live and has no frame."""
        return self.camera.live and self.camera.waiting_since is None

    @property
    def rate(self) -> float:
        """Live frames a second, as far as known."""
        return 1 / self._interval.value if self.camera.live and self._interval.value else 0.0

    def age(self, now: float) -> float:
        """Seconds that its frame has waited; a recording's waits until it is asked for."""
        return now - (self.camera.waiting_since or now)

    def check(self) -> None:
        """Raise what the engine would."""
        nothing = np.empty((0, *self._contract.crop_shape), np.uint8)
        self._classify(nothing, self.camera.live)

    def beat(self) -> Moment:
        """What can be said of a camera that has been silent."""
        self.told = time.monotonic()
        frame = self._before or blank_frame(self.camera.name, self._started)
        return Moment(frame, [], self.told, self.camera.state, self._contract.labels)

    def _frames_to_next(self) -> int:
        """How many frames a detection may serve so that the cameras are kept up with."""
        budget = self._interval.value / self._cameras - self._classifying.value
        if budget <= 0:
            return MOST_FRAMES_UNDETECTED if self._detecting.value else 1
        return min(max(math.ceil(self._detecting.value / budget), 1), MOST_FRAMES_UNDETECTED)


def _moments(streams: list[_Stream], heartbeat: float | None) -> Generator[Moment, None, None]:
    service = _Mean()
    with _news_of([stream.camera for stream in streams]) as news:
        while streams:
            news.clear()
            chosen = _next(streams, service.value)
            for stream in [stream for stream in streams if stream.silent]:
                if stream.camera.state is State.CLOSED:
                    stream.camera.read(timeout=0)  # raises what has closed it
                    streams.remove(stream)
                else:
                    stream.check()
            if chosen is not None:
                started = time.monotonic()
                frame = chosen.camera.read(timeout=0)
                if frame is not None:
                    moment = chosen.see(frame)
                    chosen.served = time.monotonic()
                    service.add(chosen.served - started)
                    if moment is not None:
                        yield moment
                elif not chosen.camera.live:
                    streams.remove(chosen)
            pause = _LOOK_AGAIN
            if heartbeat is not None:
                for stream in streams:
                    if time.monotonic() - stream.told >= heartbeat:
                        yield stream.beat()
                    pause = min(pause, stream.told + heartbeat - time.monotonic())
            if streams and chosen is None:
                news.wait(max(pause, 0))


def _next(streams: Sequence[_Stream], service: float) -> _Stream | None:
    """Whose frame is answered next, where an answer takes ``service`` seconds; None: nobody's.

    Of fresh frames, that of the camera which was not answered for longest. Where all have waited,
    the freshest; but where more frames come than can be answered, none: some have to be given up,
    and the next one is soon there.
    """
    now = time.monotonic()
    ages = {stream: stream.age(now) for stream in streams if not stream.silent}
    fresh = [stream for stream, age in ages.items() if age <= _FRESH * service]
    if fresh:
        return min(fresh, key=lambda stream: stream.served)
    if service * sum(stream.rate for stream in streams) > 1:
        return None
    return min(ages, key=lambda stream: ages[stream], default=None)


@contextlib.contextmanager
def _news_of(cameras: Sequence[Camera]) -> Iterator[threading.Event]:
    """An event that is set when one of the cameras has a frame; the cameras are taken meanwhile."""
    with _watching:
        for camera in cameras:
            if camera in _watched:
                raise UsageError(
                    f"{camera.name} is being watched already, and gives each frame once.",
                    hint="Close the other watch, or use its moments.",
                )
        _watched.update(cameras)
    news = threading.Event()
    try:
        for camera in cameras:
            camera.listeners.append(news.set)
        yield news
    finally:
        for camera in cameras:
            with contextlib.suppress(ValueError):
                camera.listeners.remove(news.set)
        with _watching:
            _watched.difference_update(cameras)


class _Mean:
    """A running mean in seconds; 0 before the first value."""

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, seconds: float) -> None:
        share = _SHARE_OF_NEWEST if self.value else 1.0
        self.value += share * (seconds - self.value)
