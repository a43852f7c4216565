"""PyAV, which reads and writes video."""

import contextlib
import importlib
from typing import Any

from fer_edge.errors import MissingDependencyError


def load_av(what: str) -> Any:
    """PyAV, or MissingDependencyError that begins with ``what``: who needs it."""
    # Where PyAV is loaded before OpenCV, OpenCV's windows hang (on Linux, in the wheels of both).
    with contextlib.suppress(ImportError):
        importlib.import_module("cv2")
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} PyAV: {error}.", hint="Run: pip install 'fer-edge[camera]'"
        ) from error
