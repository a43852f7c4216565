"""Keep stdout for results."""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_within = 0
"""Blocks that are running, in whatever threads: stdout is one for the process, so the first sends
it away and the last brings it back."""
_back = contextlib.ExitStack()


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what libraries print, from Python or not, to stderr: stdout is for results."""
    global _within
    with _lock:
        if not _within:
            _send_away(_back)
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if not _within:
                _back.close()


def _send_away(back: contextlib.ExitStack) -> None:
    back.enter_context(contextlib.redirect_stdout(sys.stderr))
    # Not every process has them: a service may have closed both.
    with contextlib.suppress(OSError):
        kept = os.dup(1)
        back.callback(os.close, kept)
        back.callback(os.dup2, kept, 1)
        back.callback(_flush_c)
        os.dup2(2, 1)


def _flush_c() -> None:
    """Write out what C code has printed: it would go wherever stdout leads later."""
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)
