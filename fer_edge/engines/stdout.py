"""Keep stdout for results."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what libraries print, from Python or not, to stderr: stdout is for results."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        # Not every process has them: a service may have closed both.
        with contextlib.suppress(OSError):
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            stack.callback(_flush_c)
            os.dup2(2, 1)
        yield


def _flush_c() -> None:
    """Write out what C code has printed: it would go wherever stdout leads later."""
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)
