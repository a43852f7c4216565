"""From frames to moments: detect, follow, classify, smooth."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from weakref import WeakSet

from fer_edge.contract import FER2013, Contract
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.engines.frames import Crops
from fer_edge.errors import InferenceError, UsageError
from fer_edge.forking import ForkGuard
from fer_edge.runtime.capture import Camera, State
from fer_edge.runtime.detection import Detector
from fer_edge.runtime.looking import Lookers
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.smoothing import Smoother
from fer_edge.runtime.stream import Look, Mean, Stream

_LOOK_AGAIN = 0.5
"""Seconds after which silent cameras are looked at without being told to."""
_FRESH = 1.25
"""Times of an answer that a frame may have waited and still count as fresh: with its own answer,
and what answers beside one another vary by, three at most."""

_watched: WeakSet[Camera] = WeakSet()
_watching = threading.Lock()


def watch(
    classify: Callable[[Faces | Crops, bool], Probabilities],
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

    A detector that may be asked by several threads looks at the next frames, of the same camera or
    of others, while the faces of one are classified; with two cores, two frames are under way. A
    frame that nobody took when its faces were known is given up for a newer one of its camera, so
    that a program which is slow with its moments gets none that waited for it.

    Frames of several cameras in one batch gain nothing on a CPU: two of 640x480 in INT8 take 13.0
    ms in one call of two threads, and 11.3 in two calls of one thread each (two cores), of which
    the first need not wait for the second. On a GPU, :class:`fer_edge.detection.RetinaFace` takes
    those together that came while it was busy, eight at most, and their faces are cut out there.

    Parameters
    ----------
    classify : callable
        From uint8 faces (N, *contract.crop_shape), or faces in a frame on a GPU, and whether they
        are live to float32 probabilities (N, labels). It may raise CancelledError where live ones
        were given up: their frame is passed over. Where there are no faces or no frames it is
        called with none, so that a closed engine is noticed.
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
    lookers = Lookers(detector)
    streams = [
        Stream(classify, camera, lookers, smoother, detect_every, len(watched), contract)
        for camera in watched
    ]
    return _moments(streams, lookers, heartbeat)


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


def _moments(
    streams: list[Stream], lookers: Lookers, heartbeat: float | None
) -> Generator[Moment, None, None]:
    service = Mean()
    guard = ForkGuard("This watch", InferenceError)
    with _news_of([stream.camera for stream in streams]) as news, lookers.at_work(news.set):
        while streams:
            guard.check()
            news.clear()
            begun = _begin(streams, lookers, service.value)
            _end_silent(streams)
            look = _first_known(streams)
            if look is not None:
                stream, known = look.stream, time.monotonic()
                if 0 < service.value < known - look.answered and stream.superseded:
                    stream.give_up(look)
                else:
                    taken = look.answered - look.begun
                    moment = stream.see(look)
                    service.add(taken + time.monotonic() - known)
                    if moment is not None:
                        yield moment
            pause = _LOOK_AGAIN
            if heartbeat is not None:
                for stream in streams:
                    if time.monotonic() - stream.told >= heartbeat:
                        yield stream.beat()
                    pause = min(pause, stream.told + heartbeat - time.monotonic())
            if streams and not begun and look is None:
                news.wait(max(pause, 0))


def _begin(streams: Sequence[Stream], lookers: Lookers, service: float) -> bool:
    """Take frames for which there is room; whether any was there, or an end."""
    begun = False
    while _has_room(streams, lookers):
        may_begin = [stream for stream in streams if stream.may_begin]
        chosen = _next(may_begin, service, lookers.at_once)
        if chosen is None:
            break
        taken = chosen.take() is not None or chosen.ended
        begun |= taken
        if not taken:  # its camera was lost in this moment
            break
    return begun


def _has_room(streams: Sequence[Stream], lookers: Lookers) -> bool:
    under_way = [look for stream in streams for look in stream.looks]
    asked = sum(not look.known for look in under_way)
    return asked < lookers.at_once and len(under_way) < lookers.most_frames


def _first_known(streams: Sequence[Stream]) -> Look | None:
    """Of the first frames under way of all streams the oldest whose faces are known."""
    first = [stream.looks[0] for stream in streams if stream.looks]
    return min((look for look in first if look.known), key=lambda look: look.begun, default=None)


def _end_silent(streams: list[Stream]) -> None:
    """Take out the streams at their end, and raise what ended them; have others check the engine.

    What is under way of a stream is told before.
    """
    for stream in [one for one in streams if not one.looks and (one.ended or one.silent)]:
        if stream.failure is not None:
            raise stream.failure
        if stream.ended:
            streams.remove(stream)
        elif stream.camera.state is State.CLOSED:
            stream.camera.read(timeout=0)  # raises what has closed it
            streams.remove(stream)
        else:
            stream.check()


def _next(streams: Sequence[Stream], service: float, at_once: int) -> Stream | None:
    """Whose frame is taken next, where an answer takes ``service`` seconds; None: nobody's.

    Of fresh frames, that of the camera which was not served for longest. Where all have waited,
    the freshest; but where more frames come than can be answered, ``at_once`` at a time, none: some
    have to be given up, and the next one is soon there.
    """
    now = time.monotonic()
    ages = {stream: stream.age(now) for stream in streams if not stream.silent}
    fresh = [stream for stream, age in ages.items() if age <= _FRESH * service]
    if fresh:
        return min(fresh, key=lambda stream: stream.served)
    if service * sum(stream.rate for stream in streams) > at_once:
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
