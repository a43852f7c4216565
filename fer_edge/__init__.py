"""FER-Edge: facial-expression recognition from training to a camera at the edge."""

import os
from typing import TYPE_CHECKING, Any

from fer_edge.version import __version__

# From 1.29 on, ONNX Runtime's wheels for Linux and macOS report to Microsoft unless this is set
# when onnxruntime is imported (https://github.com/microsoft/onnxruntime/pull/27379). "0" lets it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

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
