# ruff: noqa: ARG002, N802, N815
"""CUDA and TensorRT on host memory: asynchronous as the real ones are, and countable."""

import ctypes
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME


class FakeError:
    def __init__(self, value: int, name: str) -> None:
        self.value = value
        self.name = name

    def __int__(self) -> int:
        return self.value


SUCCESS = FakeError(0, "cudaSuccess")


class FakeCuda:
    """``cuda.bindings.runtime`` of one GPU; what is queued on a stream waits for synchronize."""

    cudaHostAllocDefault = 0
    cudaStreamNonBlocking = 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self) -> None:
        self.live: dict[int, object] = {}
        """Memory and streams that were not freed, by address or handle."""
        self.calls: list[str] = []
        self.errors: dict[str, FakeError] = {}
        """Error that a function answers with."""
        self.fail_after = -1
        """How many allocations succeed before the GPU is out of memory; -1 for all."""
        self.name = "Fake GPU"
        self.capability = (8, 7)
        self.driver = 13000
        self.queue: list[Callable[[], None]] = []

    def _answer(self, function: str, *values: object) -> tuple:
        self.calls.append(function)
        error = self.errors.get(function, SUCCESS)
        return (error, *values) if error is SUCCESS else (error, *(None for _ in values))

    def _allocate(self, function: str, size: int) -> tuple:
        if self.fail_after == 0:
            return FakeError(2, "cudaErrorMemoryAllocation"), None
        self.fail_after -= 1
        memory = ctypes.create_string_buffer(size)
        address = ctypes.addressof(memory)
        self.live[address] = memory
        return self._answer(function, address)

    def _free(self, function: str, address: int) -> tuple:
        del self.live[int(address)]
        return self._answer(function)

    def cudaGetDeviceCount(self) -> tuple:
        return self._answer("cudaGetDeviceCount", 1)

    def cudaDriverGetVersion(self) -> tuple:
        return self._answer("cudaDriverGetVersion", self.driver)

    def cudaGetErrorString(self, error: FakeError) -> tuple:
        return SUCCESS, f"text of {error.name}".encode()

    def cudaSetDevice(self, device: int) -> tuple:
        return self._answer("cudaSetDevice")

    def cudaGetDeviceProperties(self, device: int) -> tuple:
        major, minor = self.capability
        name = self.name.encode().ljust(256, b"\0")
        return self._answer(
            "cudaGetDeviceProperties", SimpleNamespace(name=name, major=major, minor=minor)
        )

    def cudaMalloc(self, size: int) -> tuple:
        return self._allocate("cudaMalloc", size)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple:
        return self._allocate("cudaHostAlloc", size)

    def cudaFree(self, address: int) -> tuple:
        return self._free("cudaFree", address)

    def cudaFreeHost(self, address: int) -> tuple:
        return self._free("cudaFreeHost", address)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple:
        return self._allocate("cudaStreamCreateWithFlags", 1)

    def cudaStreamDestroy(self, stream: int) -> tuple:
        return self._free("cudaStreamDestroy", stream)

    def cudaMemcpyAsync(
        self, target: int, source: int, nbytes: int, kind: int, stream: int
    ) -> tuple:
        assert stream in self.live
        self.queue.append(lambda: ctypes.memmove(target, source, nbytes))
        return self._answer("cudaMemcpyAsync")

    def cudaStreamSynchronize(self, stream: int) -> tuple:
        assert stream in self.live
        for step in self.queue:
            step()
        self.queue.clear()
        return self._answer("cudaStreamSynchronize")


class FakeLogger:
    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)


class FakeTensorRT:
    """The module ``tensorrt``: any plan but ``refuse`` is an engine that takes 2 to 8 faces."""

    __version__ = "10.3.0"
    ILogger = FakeLogger

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.refusal: str | None = None
        """Why plans are refused."""
        self.execution_works = True
        self.context_works = True
        self.starts = True
        self.during_execution: Callable[[], None] = lambda: None
        self.outputs = (OUTPUT_NAME,)
        self.deleted: list[str] = []
        """Objects of TensorRT, in the order in which they went."""

    def Runtime(self, logger: FakeLogger) -> "FakeRuntime":
        if not self.starts:
            logger.log(1, "CUDA initialization failure with error: 35")
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
        return FakeEngine(self.trt, self.logger)


class FakeEngine:
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

    def create_execution_context(self) -> "FakeContext | None":
        return FakeContext(self.trt, self.logger) if self.trt.context_works else None


class FakeContext:
    def __init__(self, trt: FakeTensorRT, logger: FakeLogger) -> None:
        self.trt = trt
        self.logger = logger
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def __del__(self) -> None:
        self.trt.deleted.append("context")

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if not self.trt.execution_works:
            self.logger.log(1, "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (boom)")
            return False
        shape = self.shape
        self.trt.cuda.queue.append(lambda: self._execute(shape))
        return True

    def _execute(self, shape: tuple[int, ...]) -> None:
        self.trt.during_execution()
        faces = np.frombuffer(
            ctypes.string_at(self.addresses[INPUT_NAME], int(np.prod(shape))), np.uint8
        )
        answer = expected_of_fake(faces.reshape(shape)).tobytes()
        ctypes.memmove(self.addresses[OUTPUT_NAME], answer, len(answer))


def expected_of_fake(faces: np.ndarray) -> np.ndarray:
    """What FakeContext computes: the label that a face's first pixel names, with certainty."""
    return np.eye(7, dtype=np.float32)[faces[:, 0, 0, 0] % 7]
