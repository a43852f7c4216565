"""A detector asked about several frames at once, where it can be."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from fer_edge.runtime.capture.base import Image
from fer_edge.runtime.detection import Detection, Detector, Pixels, frames_at_once, look


class Found(NamedTuple):
    """What a detector said of a frame."""

    faces: list[Detection]
    seconds: float
    """That it took."""
    ended: float
    """``time.monotonic()`` when it had answered."""
    pixels: Pixels
    """The frame where it was looked at."""


class Lookers:
    """Threads that ask a detector; the calling thread where it may be asked by one alone.

    Parameters
    ----------
    detector : Detector
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.at_once = frames_at_once(detector)
        """Frames that are looked at at once; more from when the detector says so."""
        self._pool: ThreadPoolExecutor | None = None
        self._pools = contextlib.ExitStack()
        self._tell: Callable[[], object] = lambda: None

    @contextlib.contextmanager
    def at_work(self, tell: Callable[[], object]) -> Iterator[None]:
        """Have the threads within the block; ``tell`` is called whenever a frame is done."""
        self._tell = tell
        if self.at_once > 1:
            self._open_pool()
        try:
            yield
        finally:
            self._pool = None
            self._pools.close()

    @property
    def most_frames(self) -> int:
        """Frames that may be under way: those looked at, and those that wait for their turn."""
        return 1 if self.at_once == 1 else 2 * self.at_once

    def _open_pool(self) -> None:
        self._pool = ThreadPoolExecutor(self.at_once, "fer-edge detection")
        self._pools.callback(self._pool.shutdown, cancel_futures=True)

    def look(self, image: Image) -> "Future[Found]":
        """Ask about a frame. What the detector raises in the calling thread is raised here."""
        # RetinaFace knows whether it runs on a GPU once it has seen a frame.
        at_once = frames_at_once(self._detector)
        if at_once > self.at_once:
            self.at_once = at_once
            self._open_pool()
        if self._pool is None:
            found: Future[Found] = Future()
            found.set_result(self._timed(image))
            return found
        found = self._pool.submit(self._timed, image)
        found.add_done_callback(lambda _: self._tell())
        return found

    def _timed(self, image: Image) -> Found:
        started = time.monotonic()
        faces, pixels = look(self._detector, image)
        ended = time.monotonic()
        return Found(faces, ended - started, ended, pixels)
