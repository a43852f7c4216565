"""What the page knows of one source."""

import asyncio
import threading
import time
from collections import deque

from fer_edge.runtime.capture import Camera, State
from fer_edge.runtime.capture.camera import STALLED_AFTER
from fer_edge.runtime.live.message import encode_moment
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.palette import tones

HISTORY_SECONDS = 60.0
_HISTORY_STEP = 0.25
_RATE_SECONDS = 2.0
"""What frames a second are counted over."""

_Past = tuple[float, dict[int, list[float]]]
"""A time (:attr:`Moment.finished`), and the probabilities of each track then."""


class Stream:
    """The newest moment of a source, its rate, and the last minute of its faces.

    Parameters
    ----------
    name : str
    camera : Camera, optional
        Whose state is told; without it, silence is all that can be noticed.
    """

    def __init__(self, name: str, camera: Camera | None = None) -> None:
        self.name = name
        self._camera = camera
        self._lock = threading.Lock()
        self._newest: Moment | None = None
        self._count = 0
        self._dropped = 0
        self._times: deque[float] = deque()
        self._history: deque[_Past] = deque()
        self._encoding: asyncio.Future[tuple[int, bytes]] | None = None
        self._encoded = 0

    @property
    def count(self) -> int:
        """Moments shown so far."""
        return self._count

    def put(self, moment: Moment) -> None:
        """Take a moment in the place of the one before."""
        now = moment.finished
        with self._lock:
            if self._newest is not None:
                self._dropped += max(moment.frame.index - self._newest.frame.index - 1, 0)
            self._newest = moment
            self._count += 1
            self._times.append(now)
            while now - self._times[0] > _RATE_SECONDS:
                self._times.popleft()
            if not self._history or now - self._history[-1][0] >= _HISTORY_STEP:
                faces = {
                    f.track: [round(float(p), 3) for p in f.probabilities] for f in moment.faces
                }
                self._history.append((now, faces))
            while now - self._history[0][0] > HISTORY_SECONDS:
                self._history.popleft()

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of what is seen; none before the first moment."""
        newest = self._newest
        return () if newest is None else newest.classes

    def history(self) -> list[_Past]:
        """The last minute before the newest moment, oldest first."""
        with self._lock:
            return list(self._history)

    def status(self) -> dict[str, object]:
        """How the source is doing, ready for JSON."""
        camera = self._camera
        if camera is not None:
            state = camera.state
        else:
            seen = self._newest
            silent = seen is None or time.monotonic() - seen.finished > STALLED_AFTER
            state = State.STALLED if silent else State.RUNNING
        error = None if camera is None or camera.error is None else str(camera.error)
        return {"source": self.name, "state": state.value, "error": error}

    async def message(self) -> tuple[int, bytes]:
        """The newest moment, encoded once for all who ask; with :attr:`count` as it then was."""
        under_way = self._encoding is not None and not self._encoding.done()
        if self._encoding is None or (not under_way and self._encoded < self._count):
            self._encoding = asyncio.get_running_loop().run_in_executor(None, self._encode)
        # A viewer that leaves must not take the picture from the others.
        return await asyncio.shield(self._encoding)

    def _encode(self) -> tuple[int, bytes]:
        with self._lock:
            moment, count, dropped = self._newest, self._count, self._dropped
            seconds = self._times[-1] - self._times[0]
            rate = (len(self._times) - 1) / seconds if seconds else 0.0
        assert moment is not None
        self._encoded = count
        facts = {
            "time": moment.finished,
            "fps": round(rate, 1),
            "dropped": dropped,
            "tones": tones(moment.classes),
        }
        return count, encode_moment(moment, facts)
