"""Execution contexts, which TensorRT and TensorRT-RTX make in different ways."""

from typing import Any

from fer_edge.engines import cuda
from fer_edge.engines.tensorrt.module import TensorRTBackend, load_module


class Contexts:
    """Makes the execution contexts of one engine, without memory of their own."""

    def __init__(self, engine: Any, backend: TensorRTBackend) -> None:
        self._engine = engine
        trt = load_module(backend)
        self._strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED

    def make(self) -> Any:
        """A context, or None where TensorRT fails."""
        return self._engine.create_execution_context(self._strategy)

    def require_capturable(self, context: Any, stream: cuda.Stream) -> None:
        """Raise EngineError if a CUDA graph of this context could not be trusted."""

    def keep(self) -> None:
        """Store what the contexts have compiled, for the next start."""

    def close(self) -> None:
        """After all contexts are gone."""
        self._engine = None
