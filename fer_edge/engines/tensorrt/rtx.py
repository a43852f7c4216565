"""What TensorRT-RTX has of its own: it compiles kernels on the GPU where an engine runs."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from fer_edge.engines import cuda
from fer_edge.engines.tensorrt.contexts import Contexts
from fer_edge.engines.tensorrt.module import load_module, module_version
from fer_edge.errors import EngineError, StorageError
from fer_edge.files import cache_folder, storage_errors, write_bytes

SPECIALIZATION = "EAGER"
"""Kernels for a shape are compiled when it first runs, which is when an engine is opened. ``LAZY``
would run general ones first and swap others in later, from a thread of its own: answers and
latencies would change while it runs, and a graph would hold what is replaced.

https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-with-dynamic-shapes.html
"""


class RtxContexts(Contexts):
    """Contexts that share one cache of compiled kernels, which ``path`` keeps between processes.

    A cache of another GPU, driver or version, or a damaged one, is started over.
    https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-with-runtime-cache.html
    """

    def __init__(self, engine: Any, path: Path) -> None:
        super().__init__(engine, "tensorrt-rtx")
        self._path = path
        self._stored = _read(path)
        runtime_config = engine.create_runtime_config()
        self._cache = runtime_config.create_runtime_cache()
        if self._stored and not self._cache.deserialize(self._stored):
            self._cache.reset()

    def make(self) -> Any:
        trt = load_module("tensorrt-rtx")
        runtime_config = self._engine.create_runtime_config()
        runtime_config.set_execution_context_allocation_strategy(self._strategy)
        strategies = trt.DynamicShapesKernelSpecializationStrategy
        runtime_config.dynamic_shapes_kernel_specialization_strategy = getattr(
            strategies, SPECIALIZATION
        )
        runtime_config.set_runtime_cache(self._cache)
        return self._engine.create_execution_context(runtime_config)

    def require_capturable(self, context: Any, stream: cuda.Stream) -> None:
        # Its own graphs (CudaGraphStrategy) do not tell whether they are used.
        if SPECIALIZATION == "LAZY" or not context.is_stream_capturable(stream.address):
            raise EngineError("TensorRT-RTX says that this engine cannot be captured.")

    def keep(self) -> None:
        kept = bytes(self._cache.serialize())
        if kept != self._stored:
            # Without a place to keep it, the next start compiles again.
            with contextlib.suppress(StorageError):
                write_bytes(self._path, kept)

    def close(self) -> None:
        super().close()
        self._cache = None


def kernel_cache(plan: bytes, gpu: cuda.GpuDescription) -> Path:
    """Where the kernels of an engine are kept for a GPU, driver and version."""
    told = f"{gpu} {gpu.driver} {module_version('tensorrt-rtx')}".encode()
    name = hashlib.sha256(hashlib.sha256(plan).digest() + told).hexdigest()
    return cache_folder() / "kernels" / f"{name[:32]}.cache"


def allow_capture(config: Any) -> None:
    """Build an engine that leaves allocations to its user, without which no graph holds it.

    https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/getting-started/release-notes-1/1.2.html
    """
    trt = load_module("tensorrt-rtx")
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


def _read(path: Path) -> bytes:
    with contextlib.suppress(StorageError), storage_errors(path):
        return path.read_bytes()
    return b""
