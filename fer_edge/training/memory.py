"""Memory that a training on a CPU uses again."""

import ctypes
import sys

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
"""Of mallopt, in glibc's malloc.h."""


def keep_memory() -> None:
    """Have the process keep memory that it frees, for the tensors of its next step.

    glibc takes blocks over 32 MiB from the kernel and gives them back at once, so every layer of
    every step waits for zeroed pages. The process stays as large as its largest step. Other C
    libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
