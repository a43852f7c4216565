"""What every kind of source has in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""Shape (H, W, 3), BGR, or (H, W), gray."""


class State(str, Enum):
    """Where a :class:`~fer_edge.runtime.capture.Camera` stands."""

    OPENING = "opening"
    RUNNING = "running"
    STALLED = "stalled"
    """Connected, but no frame has come for a while."""
    LOST = "lost"
    """The connection is gone; a live source is being opened again."""
    CLOSED = "closed"
    """At its end, or closed by its user."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a source."""

    image: Image = field(repr=False)
    captured: float
    """``time.monotonic()`` when the image arrived, in seconds."""
    index: int
    """Counts the images of the source from 0, those that were dropped among them."""
    source: str
    position: float | None = None
    """Seconds since the start of a recording; None for a live source, or where nobody knows."""

    file: str | None = None
    """Name of the image in its folder; None where it is no file."""

    @property
    def time(self) -> float:
        """Seconds by the source's own clock: ``position``, or else ``captured``."""
        return self.captured if self.position is None else self.position


class Reader(Protocol):
    """An opened source. Used by one thread at a time."""

    def read(
        self,
    ) -> tuple[Image, float | None] | tuple[Image, float | None, float | None, str | None] | None:
        """Wait for the next image; returns it and its position, or None where none will come.

        Two more say when it arrived and its name, as ``captured`` and ``file`` of a Frame. A reader
        of a live source returns None when the connection is gone, and one whose next image cannot
        be read raises FrameError.
        """

    def close(self) -> None:
        """Free the device or connection."""


@dataclass(frozen=True)
class Source:
    """What can be opened, any number of times."""

    name: str
    live: bool
    """Images come at their own pace, so that those nobody takes in time are dropped."""
    open: Callable[[], Reader]
    """Raises CaptureError where that fails."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """What is there and is no image, per kind; of a folder."""
    files: Sequence[Path] = ()
    """That it reads: a recording, or the images of a folder."""
