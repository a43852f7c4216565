"""Waiting for the GPU without the interpreter's lock, whatever cuda-bindings does."""

import ctypes
import sys
from collections.abc import Callable


def load_waiting() -> Callable[[int], int]:
    """``cuStreamSynchronize`` of the driver's library, from a stream's address to an error code.

    ctypes lets go of the interpreter's lock in every call. The library is the one that
    cuda-bindings has loaded, and the context is the calling thread's, as there.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    function = ctypes.CDLL(name).cuStreamSynchronize
    function.argtypes = (ctypes.c_void_p,)
    function.restype = ctypes.c_int
    return function
