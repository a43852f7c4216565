# ruff: noqa: ARG002, N802
"""TensorRT on a fake GPU, as strict as the real one."""

import json
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from fer_edge.contract import FER2013, INPUT_NAME, OUTPUT_NAME, Contract

from .cuda.fakes import ALIGNMENT, Failure, FakeGpu


class FakeLogger:
    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)


class FakeTensorRT:
    """The modules ``tensorrt`` and ``tensorrt_rtx``, whose every engine takes 2 to 8 faces."""

    __version__ = "10.3.0"
    ILogger = FakeLogger
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(
        LAZY="lazy", EAGER="eager", NONE="none"
    )

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
        self.needs_capability: tuple[int, int] | None = None
        """Of the GPU that plans were built for; others refuse them."""
        self.compiled = 0
        """Times that TensorRT-RTX compiled kernels for a shape."""
        self.configs: list[SimpleNamespace] = []
        """Runtime configurations of TensorRT-RTX's contexts."""
        self.outputs = (OUTPUT_NAME,)
        self.contract: Contract = FER2013
        """What engines take and give."""
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
        gpu = self.trt.gpu
        refusal = self.trt.refusal
        try:
            gpu.current()
        except Failure as failure:
            refusal = f"Error Code 1: Cuda Runtime ({failure})"
        else:
            needed = self.trt.needs_capability
            if needed not in (None, gpu.capability):
                expected, got = (".".join(map(str, one)) for one in (gpu.capability, needed))
                refusal = (
                    "6: The engine plan file is generated on an incompatible device, expecting "
                    f"compute {expected} got compute {got}, please rebuild."
                )
        if refusal is not None:
            self.logger.log(1, refusal)
            return None
        return FakeRtxEngine(self.trt, self.logger)


class FakeEngine:
    device_memory_size_v2 = 64

    def __init__(self, trt: FakeTensorRT, logger: FakeLogger) -> None:
        self.trt = trt
        self.logger = logger
        self._device = trt.gpu.current()
        self.names = (INPUT_NAME, *trt.outputs)
        self.num_io_tensors = len(self.names)
        self.face = trt.contract.face_shape
        self.classes = len(trt.contract.labels)

    def __del__(self) -> None:
        self.trt.deleted.append("engine")

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name="INPUT" if name == INPUT_NAME else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name="UINT8" if name == INPUT_NAME else "FLOAT")

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.face) if name == INPUT_NAME else (-1, self.classes)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(n, *self.face) for n in (2, 4, 8)]

    def create_execution_context(self, config: object = "static") -> "FakeContext | None":
        """Only with a strategy of "user managed" does a context lack memory of its own."""
        assert getattr(config, "strategy", config) in ("static", "user managed")
        if not self.trt.context_works or self.trt.gpu.current() != self._device:
            self.logger.log(1, "IExecutionContext: no context")
            return None
        return FakeContext(self, config)


class FakeRtxEngine(FakeEngine):
    def create_runtime_config(self) -> SimpleNamespace:
        config = SimpleNamespace(
            strategy=None,
            cuda_graph_strategy="disabled",
            dynamic_shapes_kernel_specialization_strategy="lazy",
            cache=None,
            create_runtime_cache=FakeRuntimeCache,
        )
        config.set_runtime_cache = lambda cache: setattr(config, "cache", cache)
        config.set_execution_context_allocation_strategy = lambda strategy: setattr(
            config, "strategy", strategy
        )
        self.trt.configs.append(config)
        return config


class FakeRuntimeCache:
    """Shapes whose kernels are compiled."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()

    def serialize(self) -> bytes:
        return json.dumps(sorted(self.shapes)).encode()

    def deserialize(self, stored: bytes) -> bool:
        try:
            self.shapes = set(map(tuple, json.loads(stored)))
        except ValueError:
            self.shapes = {(-1,)}
            return False
        return True

    def reset(self) -> bool:
        self.shapes.clear()
        return True


class FakeContext:
    def __init__(self, engine: FakeEngine, config: object) -> None:
        self.trt = engine.trt
        self.logger = engine.logger
        self.classes = engine.classes
        self._device = engine._device
        self._config = config
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
        if address % ALIGNMENT:
            self.logger.log(1, "IExecutionContext::setTensorAddress: misaligned address")
            return False
        self.addresses[name] = address
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        """Of TensorRT-RTX."""
        self.trt.gpu.check_context(stream)
        return self.trt.capturable

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return 2 <= shape[0] <= 8

    def execute_async_v3(self, stream: int) -> bool:
        gpu = self.trt.gpu
        with gpu.lock:
            try:
                gpu.check_context(stream)
                if gpu.current() != self._device:
                    raise Failure("invalid resource handle")
                self._compile()
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

    def _compile(self) -> None:
        """As TensorRT-RTX in the first run of a shape; what is compiled meanwhile is no matter."""
        cache = getattr(self._config, "cache", None)
        if not hasattr(self._config, "cache") or self.shape in self.warm:
            return
        assert self._config.dynamic_shapes_kernel_specialization_strategy == "eager", "kernels swap"
        if cache is None or self.shape not in cache.shapes:
            self.trt.gpu.forbid_capture()
            self.trt.compiled += 1
            if cache is not None:
                cache.shapes.add(self.shape)


class _Inference:
    """Takes two steps, between which its context's memory is its own."""

    def __init__(
        self, context: FakeContext, shape: tuple[int, ...], addresses: dict[str, int]
    ) -> None:
        self.trt = context.trt
        self.classes = context.classes
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
        answer = expected_of_fake(faces.reshape(self.shape), self.classes).tobytes()
        gpu.bytes_at(self.addresses[OUTPUT_NAME], len(answer))[:] = answer
        self.trt.batches.append(self.shape[0])
        return True


def expected_of_fake(faces: np.ndarray, classes: int = 7) -> np.ndarray:
    """What FakeContext computes: the label that a face's first pixel names, with certainty."""
    return np.eye(classes, dtype=np.float32)[faces[:, 0, 0, 0] % classes]
