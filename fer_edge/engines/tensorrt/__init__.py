"""TensorRT and TensorRT-RTX: one code path builds, one runs."""

from fer_edge.engines.tensorrt.builder import build_engine
from fer_edge.engines.tensorrt.engine import TensorRTEngine
from fer_edge.engines.tensorrt.inspector import EngineLayer, inspect_engine
from fer_edge.engines.tensorrt.module import (
    PREFERENCE,
    TENSORRT_BACKENDS,
    TensorRTBackend,
    module_version,
)

__all__ = [
    "PREFERENCE",
    "TENSORRT_BACKENDS",
    "EngineLayer",
    "TensorRTBackend",
    "TensorRTEngine",
    "build_engine",
    "inspect_engine",
    "module_version",
]
