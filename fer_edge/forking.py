"""What a fork leaves to the child: all of the memory, and none of the threads.

A child that waits for a thread of its parent waits for ever, and so does one that frees what such
threads belong to. What has threads is watched here: in a child it is made anew, or refuses.
"""

import contextlib
import ctypes
import os
import sys
import weakref
from typing import Any, Protocol

from fer_edge.errors import FerEdgeError

HINT = (
    "Open it after the fork: in gunicorn without --preload or in post_fork, in multiprocessing or "
    "a PyTorch DataLoader in the worker; or start children with the method spawn."
)


class Forked(Protocol):
    """What has to do something in a child."""

    def after_fork(self) -> None:
        """Called in the child, which has one thread, before anything else is done there."""


_watched: "weakref.WeakSet[Any]" = weakref.WeakSet()


def watch_forks(thing: Forked) -> None:
    """Have ``thing.after_fork()`` called in every child, for as long as ``thing`` lives."""
    _watched.add(thing)


class ForkGuard:
    """Refuses the use, in a child, of what its parent opened.

    Parameters
    ----------
    what : str
        Name in the message, at its beginning.
    error : type of FerEdgeError
    keep : object
        Has threads: never freed in a child, not even when it ends.
    hint : str
        What to do instead.
    """

    def __init__(
        self, what: str, error: type[FerEdgeError], *keep: object, hint: str = HINT
    ) -> None:
        self._what = what
        self._error = error
        self._hint = hint
        self._keep: tuple[object, ...] = keep
        self.forked = False
        """Whether this is such a child."""
        watch_forks(self)

    def check(self) -> None:
        """Raise ``error`` in a child."""
        if self.forked:
            raise self._error(
                f"{self._what} was opened by the process that this one was forked from, and its "
                "threads are left there.",
                hint=self._hint,
            )

    def let_go(self) -> None:
        """Hold nothing any longer, as what is guarded is closed."""
        self._keep = ()

    def after_fork(self) -> None:
        self.forked = True
        for one in self._keep:
            keep_for_ever(one)


def keep_for_ever(thing: object) -> None:
    """Never free ``thing``, not even when Python ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    for thing in list(_watched):
        thing.after_fork()
    if "onnxruntime" in sys.modules:
        # What it frees last of all waits for a thread of the parent (1.32, whether it was used or
        # only imported): end before that, once Python has done all that it does.
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.on_exit(libc._exit, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
