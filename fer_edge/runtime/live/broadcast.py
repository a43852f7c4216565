"""From the program's moments to its viewers."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from fer_edge.errors import UsageError
from fer_edge.runtime.capture import Camera
from fer_edge.runtime.live.stream import Stream
from fer_edge.runtime.moment import Moment


class Audience(Protocol):
    """Whom a broadcast tells: a viewer."""

    news: asyncio.Event
    """Set when there is a new moment."""
    leaving: asyncio.Event
    """Set when the page is closed."""


class Broadcast:
    """What is shown, and who looks.

    :meth:`show` and :meth:`end` may be called by any thread, the rest by that of the server.

    Parameters
    ----------
    cameras : sequence of Camera

    Raises
    ------
    UsageError
        Two cameras have one name.
    """

    def __init__(self, cameras: Sequence[Camera]) -> None:
        names = [camera.name for camera in cameras]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(
                    f"Two cameras are named {name}.", hint="Tell them apart: Camera(…, name=…)."
                )
        self._lock = threading.Lock()
        self.streams = [Stream(camera.name, camera) for camera in cameras]
        """Of the cameras, then of other sources as they come up."""
        self._viewers: set[Audience] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False

    def show(self, moment: Moment) -> None:
        """Take a moment and tell the viewers."""
        name = moment.frame.source
        with self._lock:
            stream = next((s for s in self.streams if s.name == name), None)
            if stream is None:
                stream = Stream(name)
                self.streams.append(stream)
            stream.put(moment)
            if self._viewers and self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve viewers in the running loop for as long as the context lasts."""
        loop = asyncio.get_running_loop()
        # It encodes: one picture at a time, so that viewers cost no more than a core.
        loop.set_default_executor(ThreadPoolExecutor(1, thread_name_prefix="fer-edge encoder"))
        self._ended = False
        with self._lock:
            self._loop = loop
        try:
            yield
        finally:
            with self._lock:
                self._loop = None

    def end(self) -> None:
        """Let all viewers go."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._let_go)

    @contextmanager
    def joined(self, viewer: Audience) -> Iterator[None]:
        """Keep a viewer informed for as long as the context lasts."""
        self._viewers.add(viewer)
        if self._ended:
            viewer.leaving.set()
        try:
            yield
        finally:
            self._viewers.discard(viewer)

    def _wake(self) -> None:
        for viewer in self._viewers:
            viewer.news.set()

    def _let_go(self) -> None:
        self._ended = True
        for viewer in self._viewers:
            viewer.leaving.set()
