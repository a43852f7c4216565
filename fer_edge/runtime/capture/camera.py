"""A source of images that neither queues nor gives up."""

import atexit
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from fer_edge.errors import CaptureError, FerEdgeError, FrameError
from fer_edge.forking import ForkGuard, watch_forks
from fer_edge.runtime.capture.base import Frame, Image, Reader, Source, State
from fer_edge.runtime.capture.numbering import Numbering
from fer_edge.runtime.capture.playback import Playback
from fer_edge.runtime.capture.sources import find_source

STALLED_AFTER = 1.0
LONGEST_OPENING = 15.0
"""Seconds that a live source may take to open, longer than streams take to give up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 4.0
"""Seconds between attempts to open a lost source again; the pause doubles."""
PATIENCE = 2.0
"""Seconds that closing waits for a read or an opening in progress."""
LAST_PATIENCE = 12.0
"""Seconds that the end of the program waits for a read, longer than streams take to give up."""
LONGEST_WAIT = 0.5
"""Seconds of one wait for a lock: Ctrl-C that comes just before it, or in another thread, shows
only when it ends."""

_log = logging.getLogger(__name__)


class Camera:
    """Frames of a camera, stream, recording or program. A context manager and an iterator.

    Of a live source only the newest frame is kept: a thread takes what comes, and a frame that
    nobody read before the next one counts as dropped. When it is lost it is opened again,
    with growing pauses, for as long as it takes. A recording gives every frame, as fast as it is
    read.

    Parameters
    ----------
    source : int, str, Path, iterable of uint8 arrays, or Source
        As :func:`fer_edge.runtime.capture.find_source` understands it.
    name : str, optional
        What frames say they are from; by default the source's own, without passwords.
    size : (int, int), optional
        Width and height to ask a camera for. It gives the nearest that it has.
    fps : float, optional
        Rate to ask a camera for; of a recording, a folder or an iterable, the rate at which its
        images were taken, whatever times a recording has.
    wait : bool
        Wait for a live source that is not there yet, as for one that is lost: until then its
        state is OPENING, and reading waits.
    reconnect : bool
        Open a live source again when it is lost; otherwise that is its end.

    Raises
    ------
    CaptureError
        The source cannot be opened, or a live one does not open within 15 s.
    UsageError
        ``source`` is nothing that could be one, or has a size or a rate of its own.

    Examples
    --------
    >>> with Camera(0) as camera:
    ...     for frame in camera:
    ...         print(frame.index, frame.image.shape, camera.dropped)
    """

    def __init__(
        self,
        source: int | str | Path | Source | Iterable[Image | tuple[Image, float]],
        *,
        name: str | None = None,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        wait: bool = False,
        reconnect: bool = True,
    ) -> None:
        self._source = find_source(source, size=size, fps=fps)
        self.name = name or self._source.name
        self._wait = wait
        self._reconnect = reconnect
        self._changed = threading.Condition()
        self._state = State.OPENING
        self._newest: Frame | None = None
        self._numbering = Numbering(self.name)
        self._closing = threading.Event()
        self._opened = False
        self.dropped = 0
        """Live frames that nobody read in time."""
        self.reconnects = 0
        """How often a lost source was opened again."""
        self.error: Exception | None = None
        """Why the source is lost, or why it ended early; None while all is well."""
        self.listeners: list[Callable[[], object]] = []
        """Called, by the camera's thread, for every live frame and at the end."""
        self._reader: Reader | None = None
        """Of a live source."""
        self._playback: Playback | None = None
        self._mistake: FerEdgeError | None = None
        self._thread: threading.Thread | None = None
        self._guard = ForkGuard(self.name, CaptureError)
        watch_forks(self)
        if self.live:
            self._start()
        else:
            self._playback = Playback(self._source, self._numbering)
            self._state = State.RUNNING

    def __repr__(self) -> str:
        return f"<Camera {self.name!r}, {self.state.value}>"

    def after_fork(self) -> None:
        """In a child, be at the end: what reads the source, and holds locks, is the parent's."""
        held = self._playback.reader if self._playback is not None else self._reader
        self._guard = ForkGuard(self.name, CaptureError, held)
        self._guard.after_fork()
        self._changed = threading.Condition()
        self._state, self._reader, self._thread = State.CLOSED, None, None
        self._playback = None
        self._closing = threading.Event()
        self._closing.set()

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace."""
        return self._source.live

    @property
    def length(self) -> int | None:
        """How many frames an open recording has by its own account; None where it has none."""
        return None if self._playback is None else self._playback.length

    @property
    def failures(self) -> list[FrameError]:
        """Images of a folder that could not be read; they count, as frames do."""
        return [] if self._playback is None else self._playback.failures

    @property
    def skipped(self) -> Mapping[str, int]:
        """How much of a folder is no image, per ending or ``folder``."""
        return self._source.skipped

    @property
    def files(self) -> Sequence[Path]:
        """That it reads: a recording, or the images of a folder."""
        return self._source.files

    @property
    def state(self) -> State:
        with self._changed:
            silent = time.monotonic() - self._numbering.arrived > STALLED_AFTER
            if self._state is State.RUNNING and self.live and silent:
                return State.STALLED
            return self._state

    @property
    def waiting_since(self) -> float | None:
        """``captured`` of the live frame that :meth:`read` has ready; None where it has none."""
        with self._changed:
            return None if self._newest is None else self._newest.captured

    def read(self, timeout: float | None = None) -> Frame | None:
        """Return the newest frame of a live source that was not read yet, or a recording's next.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for a live frame; without it, as long as the source lives.

        Returns
        -------
        Frame or None
            None where no frame came in time, or none will: :attr:`state` tells which, and
            :attr:`error` why.

        Raises
        ------
        FerEdgeError
            What waiting does not mend: OpenCV is not installed, a frame of another shape.
        """
        self._guard.check()
        if not self.live:
            return self._read_recording()
        with self._changed:
            _wait(
                self._changed,
                lambda: self._newest is not None or self._state is State.CLOSED,
                timeout,
            )
            frame, self._newest = self._newest, None
            mistake, self._mistake = self._mistake, None
        if mistake is not None:
            raise mistake
        return frame

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source ends or is closed."""
        while (frame := self.read()) is not None:
            yield frame

    def close(self) -> None:
        """Free the source and end every iteration over it. May be called more than once."""
        self._stop()
        # A driver that hangs in a read cannot be interrupted: what it holds is freed afterwards.
        if self._thread is not None:
            if self._thread is not threading.current_thread():
                self._thread.join(PATIENCE)
        elif self._playback is not None:
            self._playback.close(PATIENCE)
        self._tell()

    def __enter__(self) -> "Camera":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def give_up(self) -> None:
        """Count a frame that was read and is of no use any more, as dropped."""
        with self._changed:
            self.dropped += 1

    def _read_recording(self) -> Frame | None:
        if self._closing.is_set() or self._playback is None:
            return None
        frame = None
        try:
            frame = self._playback.read()
        except Exception as error:
            self.error = error
            if not isinstance(error, CaptureError):  # that what was read of it is not all
                raise
        finally:
            if frame is None:
                self.close()
        return frame

    def _tell(self) -> None:
        for listener in list(self.listeners):
            try:
                listener()
            except Exception:  # noqa: PERF203, what others do with a frame is not its source's
                _log.exception("A listener of %s failed.", self.name)

    def _start(self) -> None:
        """Open the source in its thread: an opening that hangs here could not be interrupted."""
        self._thread = threading.Thread(
            target=self._capture, name=f"fer-edge {self.name}", daemon=True
        )
        atexit.register(self._end)
        self._thread.start()
        if self._wait:
            return
        try:
            with self._changed:
                done = _wait(
                    self._changed,
                    lambda: self._opened or self._state is State.CLOSED,
                    LONGEST_OPENING,
                )
            if not done:
                raise CaptureError(
                    f"{self.name} has not opened within {LONGEST_OPENING:.0f} s.",
                    hint="Try an address in a player, a pipeline with gst-launch-1.0.",
                )
            if not self._opened and self.error is not None:
                raise self.error
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        self._closing.set()
        with self._changed:
            self._state = State.CLOSED
            self._newest = None
            self._changed.notify_all()

    def _end(self) -> None:
        """Wait, with the program, for its thread: one that comes out of C++ later aborts it."""
        self.close()
        # An opening may never end, and will hardly do so in this very moment.
        if self._thread is not None and self._reader is not None:
            with contextlib.suppress(KeyboardInterrupt):  # who insists need not wait
                self._thread.join(LAST_PATIENCE)

    def _capture(self) -> None:
        try:
            while (reader := self._open()) is not None:
                self._reader = reader
                self._take_frames(reader)
                self._reader = None
        except FerEdgeError as error:
            self.error = self._mistake = error
        self.close()
        atexit.unregister(self._end)

    def _open(self) -> Reader | None:
        """Open the source, or a lost one again; None where it is not wanted any more."""
        with self._changed:
            first = self._state is State.OPENING
            if self._closing.is_set():
                return None
            if not first:
                self._state = State.LOST
                # Once there is a gap, what came before it is not news.
                self.dropped += self._newest is not None
                self._newest = None
                self.error = self.error or CaptureError(f"{self.name} sends no more frames.")
        if not (first or self._reconnect):
            return None
        pause = 0.0 if first else FIRST_PAUSE
        while not self._closing.wait(pause):
            try:
                reader = self._source.open()
            except Exception as error:
                self._outlive(error)
                if first and not self._wait:
                    return None
                pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
                continue
            self.reconnects += not first
            with self._changed:
                self._numbering.arrived = time.monotonic()
                self._opened = True
                if first and not self._closing.is_set():
                    self._state, self.error = State.RUNNING, None
                    self._changed.notify_all()
            return reader
        return None

    def _take_frames(self, reader: Reader) -> None:
        try:
            try:
                while not self._closing.is_set() and (found := reader.read()) is not None:
                    self._take(*found)
            finally:
                reader.close()
        except Exception as error:
            self._outlive(error)

    def _take(
        self,
        image: Image,
        position: float | None,
        captured: float | None = None,
        file: str | None = None,
    ) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            frame = self._numbering.frame(image, position, captured, file)
            self.dropped += self._newest is not None
            self._newest = frame
            self._state = State.RUNNING
            self.error = None
            self._changed.notify_all()
        self._tell()

    def _outlive(self, error: Exception) -> None:
        """Note what a driver raised: the program must outlive its camera, but not a mistake."""
        if isinstance(error, FerEdgeError) and not isinstance(error, CaptureError):
            raise error
        self.error = error


def _wait(
    changed: threading.Condition, done: Callable[[], bool], timeout: float | None = None
) -> bool:
    """Wait as ``changed.wait_for`` does, and let Ctrl-C through all the while."""
    end = None if timeout is None else time.monotonic() + timeout
    while not done():
        left = LONGEST_WAIT if end is None else min(end - time.monotonic(), LONGEST_WAIT)
        if left <= 0:
            return False
        changed.wait(left)
    return True
