"""What TensorRT-RTX has of its own."""

from typing import Any

from fer_edge.engines.tensorrt.module import load_module


def make_context(engine: Any, *, graphs: bool) -> Any:
    """An execution context without memory; with ``graphs``, it captures and replays by itself.

    It compiles kernels for a shape while it runs others, and so only it knows when a graph is worth
    capturing. https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-with-cuda-graphs.html
    """
    trt = load_module("tensorrt-rtx")
    runtime_config = engine.create_runtime_config()
    runtime_config.set_execution_context_allocation_strategy(
        trt.ExecutionContextAllocationStrategy.USER_MANAGED
    )
    if graphs:
        runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(runtime_config)
