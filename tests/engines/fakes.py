# ruff: noqa: ARG002, N802
"""TensorRT on a fake GPU."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME

from .cuda.fakes import Failure, FakeGpu


class FakeLogger:
    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)


class FakeTensorRT:
    """The modules ``tensorrt`` and ``tensorrt_rtx``, whose every engine takes 2 to 8 faces."""

    __version__ = "10.3.0"
    ILogger = FakeLogger
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph")

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.refusal: str | None = None
        """Why plans are refused."""
        self.execution_works = True
        self.context_works = True
        self.starts = True
        self.start_error = "CUDA initialization failure with error: 35"
        self.during_execution: Callable[[], None] = lambda: None
        self.capturable = True
        self.configs: list[SimpleNamespace] = []
        """Runtime configurations of TensorRT-RTX's contexts."""
        self.outputs = (OUTPUT_NAME,)
        self.batches: list[int] = []
        """Sizes of the batches that ran."""
        self.deleted: list[str] = []
        """Objects of TensorRT, in the order in which they went."""
        self.deleted_in: list[list[int]] = []
        """Current CUDA context when an execution context went."""

    def Runtime(self, logger: FakeLogger) -> "FakeRuntime":
        if not self.starts:
            logger.log(1, self.start_error)
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return FakeRuntime(self, logger)


class FakeRuntime:
    def __init__(self, trt: FakeTensorRT, logger: FakeLogger) -> None:
        self.trt = trt
        self.logger = logger

    def __del__(self) -> None:
        self.trt.deleted.append("runtime")

    def deserialize_cuda_engine(self, plan: bytes) -> "FakeEngine | None":
        if self.trt.refusal is not None:
            self.logger.log(1, self.trt.refusal)
            return None
        return FakeRtxEngine(self.trt, self.logger)


class FakeEngine:
    device_memory_size_v2 = 64

    def __init__(self, trt: FakeTensorRT, logger: FakeLogger) -> None:
        self.trt = trt
        self.logger = logger
        self.names = (INPUT_NAME, *trt.outputs)
        self.num_io_tensors = len(self.names)

    def __del__(self) -> None:
        self.trt.deleted.append("engine")

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name="INPUT" if name == INPUT_NAME else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name="UINT8" if name == INPUT_NAME else "FLOAT")

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 1, 48, 48) if name == INPUT_NAME else (-1, 7)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(n, 1, 48, 48) for n in (2, 4, 8)]

    def create_execution_context(self, config: object = "static") -> "FakeContext | None":
        """Only with a strategy of "user managed" does a context lack memory of its own."""
        assert getattr(config, "strategy", config) in ("static", "user managed")
        return FakeContext(self.trt, self.logger) if self.trt.context_works else None


class FakeRtxEngine(FakeEngine):
    def create_runtime_config(self) -> SimpleNamespace:
        config = SimpleNamespace(strategy=None, cuda_graph_strategy="disabled")
        config.set_execution_context_allocation_strategy = lambda strategy: setattr(
            config, "strategy", strategy
        )
        self.trt.configs.append(config)
        return config


class FakeContext:
    def __init__(self, trt: FakeTensorRT, logger: FakeLogger) -> None:
        self.trt = trt
        self.logger = logger
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()
        self.scratch = 0
        self.warm: set[tuple[int, ...]] = set()

    def __del__(self) -> None:
        self.trt.deleted.append("context")
        self.trt.deleted_in.append(self.trt.gpu.stack[-1:])

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= FakeEngine.device_memory_size_v2
        self.scratch = address

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return 2 <= shape[0] <= 8

    def execute_async_v3(self, stream: int) -> bool:
        gpu = self.trt.gpu
        with gpu.lock:
            try:
                gpu.check_context()
                if self.shape not in self.warm or not self.trt.capturable:
                    gpu.forbid_capture()
                    self.warm.add(self.shape)
                if not self.trt.execution_works:
                    raise Failure("boom")
                step = _Inference(self, self.shape, dict(self.addresses))
                gpu.queue(stream, step.begin)
                gpu.queue(stream, step.end)
            except Failure as error:
                text = f"IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime ({error})"
                self.logger.log(1, text)
                return False
        return True


class _Inference:
    """Takes two steps, between which its context's memory is its own."""

    def __init__(
        self, context: FakeContext, shape: tuple[int, ...], addresses: dict[str, int]
    ) -> None:
        self.trt = context.trt
        self.shape = shape
        self.addresses = addresses
        self.scratch = context.scratch
        self.mark = id(self).to_bytes(8, "little")

    def begin(self) -> bool:
        self.trt.gpu.bytes_at(self.scratch, 8)[:] = self.mark
        return True

    def end(self) -> bool:
        left = self.trt.gpu.bytes_at(self.scratch, 8)
        assert left == self.mark, "two inferences in one memory at a time"
        self.trt.during_execution()
        gpu = self.trt.gpu
        faces = np.frombuffer(
            gpu.bytes_at(self.addresses[INPUT_NAME], int(np.prod(self.shape))), np.uint8
        )
        answer = expected_of_fake(faces.reshape(self.shape)).tobytes()
        gpu.bytes_at(self.addresses[OUTPUT_NAME], len(answer))[:] = answer
        self.trt.batches.append(self.shape[0])
        return True


def expected_of_fake(faces: np.ndarray) -> np.ndarray:
    """What FakeContext computes: the label that a face's first pixel names, with certainty."""
    return np.eye(7, dtype=np.float32)[faces[:, 0, 0, 0] % 7]
