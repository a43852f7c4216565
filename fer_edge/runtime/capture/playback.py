"""The frames of a recording, one after the other."""

import logging
import threading

from fer_edge.errors import FrameError
from fer_edge.runtime.capture.base import Frame, Image, Reader, Source
from fer_edge.runtime.capture.clock import Clock
from fer_edge.runtime.capture.numbering import Numbering

_log = logging.getLogger(__name__)


class Playback:
    """Reads a source that is not live. One thread reads at a time.

    Parameters
    ----------
    source : Source
        Is opened; raises as it does.
    numbering : Numbering
    """

    def __init__(self, source: Source, numbering: Numbering) -> None:
        self._numbering = numbering
        self._reading = threading.Lock()
        self.reader: Reader | None = source.open()
        self._clock = Clock(getattr(self.reader, "rate", None))
        self.failures: list[FrameError] = []
        """Images that could not be read; they count, as frames do."""

    @property
    def length(self) -> int | None:
        """How many frames there are by the recording's own account; None where it has none."""
        return getattr(self.reader, "length", None)

    def read(self) -> Frame | None:
        """The next frame, or None at the end; may raise whatever the reader does."""
        with self._reading:
            if (found := self._next()) is None:
                return None
            image, told, captured, file = (*found, None, None)[:4]
            return self._numbering.frame(image, self._time(told), captured, file)

    def close(self, patience: float) -> None:
        """Free the source, unless a read in progress takes longer than ``patience`` seconds."""
        if self._reading.acquire(timeout=patience):
            try:
                if self.reader is not None:
                    self.reader.close()
                self.reader = None
            finally:
                self._reading.release()

    def _next(
        self,
    ) -> tuple[Image, float | None] | tuple[Image, float | None, float | None, str | None] | None:
        while self.reader is not None:
            try:
                return self.reader.read()
            except FrameError as error:  # noqa: PERF203, one bad image is not the end
                self.failures.append(error)
                self._numbering.count += 1
        return None

    def _time(self, told: float | None) -> float | None:
        """Position of the next frame; what is wrong with the recording's times is said once."""
        sound = self._clock.fault is None
        now = self._clock.time(told)
        if sound and self._clock.fault is not None:
            _log.warning(
                "%s %s: from frame %d on, frames without a usable time are counted at %.4g a "
                "second. Another rate: --fps (fps= in Python).",
                self._numbering.name,
                self._clock.fault,
                self._numbering.count,
                self._clock.rate,
            )
        return now
