"""Sources that do what the test says."""

import threading
import time
from collections.abc import Callable

import numpy as np

from fer_edge.errors import CaptureError
from fer_edge.runtime.capture import Source


def image(value: int) -> np.ndarray:
    return np.full((4, 6, 3), value, np.uint8)


class FakeDevice:
    """A live source whose frames, losses and failures the test hands out."""

    def __init__(self) -> None:
        self.next = threading.Semaphore(0)
        self.script: list[np.ndarray | Exception | None] = []
        self.present = True
        self.hangs = threading.Event()
        """Set while an attempt to open it does not come back."""
        self.opened = 0
        self.closed = 0

    def send(self, *what: np.ndarray | Exception | None) -> None:
        """Frames; None for a lost connection; an exception that the driver raises."""
        self.script += what
        self.next.release(len(what))

    def source(self) -> Source:
        return Source("fake", True, self._open)

    def _open(self) -> "FakeDevice":
        while self.hangs.is_set():
            time.sleep(0.01)
        if not self.present:
            raise CaptureError("fake cannot be opened.")
        self.opened += 1
        return self

    def read(self) -> tuple[np.ndarray, None] | None:
        while not self.next.acquire(timeout=0.01):
            if not self.present:
                return None
        what = self.script.pop(0)
        if isinstance(what, Exception):
            raise what
        return None if what is None else (what, None)

    def close(self) -> None:
        self.closed += 1


def wait_until(holds: Callable[[], bool], seconds: float = 5) -> None:
    pause = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if holds():
            return
        pause.wait(0.005)
    raise AssertionError("this has not come to be")
