"""Inference engines behind one protocol: ONNX Runtime, OpenVINO, TensorRT, TensorRT-RTX."""

from fer_edge.engines.base import Engine, EngineInfo, run_all
from fer_edge.engines.detector import open_detector
from fer_edge.engines.selection import BACKENDS, open_engine
from fer_edge.engines.status import BackendStatus, backend_status

__all__ = [
    "BACKENDS",
    "BackendStatus",
    "Engine",
    "EngineInfo",
    "backend_status",
    "open_detector",
    "open_engine",
    "run_all",
]
