"""FER-Edge: facial-expression recognition from training to a camera at the edge."""

from typing import TYPE_CHECKING, Any

from fer_edge.version import __version__

if TYPE_CHECKING:
    from fer_edge.runtime import EMOTIONS, Camera, Moment, Prediction, Recognizer

__all__ = ["EMOTIONS", "Camera", "Moment", "Prediction", "Recognizer", "__version__"]


def __getattr__(name: str) -> Any:
    # numpy and onnxruntime load on first use, so that `fer-edge --help` need not wait for them.
    if name in __all__:
        from fer_edge import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
