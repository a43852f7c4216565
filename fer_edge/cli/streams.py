"""Standard streams, which may be closed, missing or broken: work must not be lost over them."""

import contextlib
import io
import os
import sys
from typing import Any, TextIO


def open_streams() -> None:
    """Put the null device in the place of standard streams that are closed or missing.

    Of the descriptors, too: else the next file that is opened gets the number of one, and what a
    library prints lands in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # noqa: PERF203
            # The lowest free number is given out.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name or a bar that the terminal's encoding lacks is no reason to fail.
        sys.stdout.reconfigure(errors="replace")


def drop_output() -> None:
    """Send what stdout still buffers nowhere: Python would try it again on exit, and complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Messages:
    """``sys.stderr`` of the moment as a file whose failures are ignored.

    Messages and progress are not the work: a log on a full disk, or a reader of it that has ended,
    must not end a training.
    """

    @property
    def rich_proxied_file(self) -> "Messages":
        """Itself: Rich puts a proxy in the place of ``sys.stderr`` that writes to it again."""
        return self

    @staticmethod
    def _target() -> TextIO:
        stream = sys.stderr or io.StringIO()
        return getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._target().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._target().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)
