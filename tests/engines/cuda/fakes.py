# ruff: noqa: ARG002, N802, N818
"""A GPU on host memory, asynchronous as a real one, as cuda-bindings and as PyCUDA show it."""

import ctypes
import itertools
import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

Step = Callable[[], bool]
"""Runs on the GPU; False as long as it has to wait."""


class Failure(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class FakeGpu:
    """The driver API of one GPU.

    Streams run when one is waited for: a step of each in turn, so that what was not ordered by a
    stream or an event runs in between. Memory is looked up when it is used.
    """

    PRIMARY = 0xC0DE

    def __init__(self) -> None:
        self.live: dict[int, object] = {}
        """What was made and not destroyed, by address or handle."""
        self.calls: list[str] = []
        self.errors: dict[str, str] = {}
        """Text of the error that a function answers with."""
        self.fail_after = -1
        """How many more things can be made before the GPU is out of memory; -1 for any number."""
        self.count = 1
        self.name = "Fake GPU"
        self.capability = (8, 7)
        self.retained = 0
        self.pushed = self.most_pushed = 0
        """Contexts on all stacks of all threads, now and at most."""
        self.lock = threading.RLock()
        self._thread = threading.local()
        self._handles = itertools.count(1000)
        self._finishing: list[deque] = []
        """Work of streams that were destroyed."""
        self._captures: dict[int, SimpleNamespace] = {}

    @property
    def stack(self) -> list[int]:
        """Contexts of the calling thread, the current one last."""
        return self._thread.__dict__.setdefault("stack", [])

    def call(self, name: str, *args: object) -> object:
        with self.lock:
            self.calls.append(name)
            if name in self.errors:
                raise Failure(self.errors[name])
            return getattr(self, name)(*args)

    def check_context(self) -> None:
        if self.stack[-1:] != [self.PRIMARY]:
            raise Failure("invalid device context")

    def forbid_capture(self) -> None:
        """Of calls that cannot be captured: they fail, and take the thread's captures with them."""
        for capture in self._captures.values():
            if capture.thread == threading.get_ident():
                capture.valid = False
                raise Failure("operation not permitted when stream is capturing")

    def queue(self, stream: int, step: Step) -> None:
        self.check_context()
        capture = self._captures.get(stream)
        (self.live[stream] if capture is None else capture.steps).append(step)

    def bytes_at(self, address: int, nbytes: int) -> memoryview:
        for start, block in self.live.items():
            if isinstance(block, ctypes.Array) and start <= address < start + len(block):
                assert address + nbytes <= start + len(block), "access beyond an allocation"
                return memoryview(block).cast("B")[address - start : address - start + nbytes]
        raise AssertionError("access to memory that is not allocated")

    def _make(self, thing: object, handle: int | None = None) -> int:
        self.check_context()
        self.forbid_capture()
        if self.fail_after == 0:
            raise Failure("out of memory")
        self.fail_after -= 1
        handle = next(self._handles) if handle is None else handle
        self.live[handle] = thing
        return handle

    def _destroy(self, handle: int) -> None:
        self.check_context()
        del self.live[handle]

    def _allocate(self, nbytes: int) -> int:
        assert nbytes > 0
        block = ctypes.create_string_buffer(b"\xab" * nbytes, nbytes)
        return self._make(block, ctypes.addressof(block))

    def _deallocate(self, address: int) -> None:
        self.forbid_capture()
        self._destroy(address)

    def cuInit(self, flags: int) -> None: ...

    def cuDeviceGetCount(self) -> int:
        return self.count

    def cuDeviceGet(self, index: int) -> int:
        if index >= self.count:
            raise Failure("invalid device ordinal")
        return index

    def cuDeviceGetName(self, length: int, device: int) -> bytes:
        return self.name.encode().ljust(length, b"\0")

    def cuDeviceComputeCapability(self, device: int) -> tuple[int, int]:
        return self.capability

    def cuDevicePrimaryCtxRetain(self, device: int) -> int:
        self.retained += 1
        return self.PRIMARY

    def cuCtxPushCurrent(self, context: int) -> None:
        self.stack.append(context)
        self.pushed += 1
        self.most_pushed = max(self.most_pushed, self.pushed)

    def cuCtxPopCurrent(self) -> int:
        if not self.stack:
            raise Failure("invalid device context")
        self.pushed -= 1
        return self.stack.pop()

    def cuMemAlloc(self, nbytes: int) -> int:
        return self._allocate(nbytes)

    def cuMemFree(self, address: int) -> None:
        self._deallocate(address)

    def cuMemHostAlloc(self, nbytes: int, flags: int) -> int:
        return self._allocate(nbytes)

    def cuMemFreeHost(self, address: int) -> None:
        self._deallocate(address)

    def cuPointerGetAttribute(self, attribute: int, address: int) -> int:
        self.bytes_at(address, 1)
        return 0

    def cuMemcpyHtoDAsync(self, target: int, source: np.ndarray, nbytes: int, stream: int) -> None:
        self._copy(target, source.ctypes.data, nbytes, stream)

    def cuMemcpyDtoHAsync(self, target: np.ndarray, source: int, nbytes: int, stream: int) -> None:
        self._copy(target.ctypes.data, source, nbytes, stream)

    def _copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        def copy() -> bool:
            self.bytes_at(target, nbytes)[:] = self.bytes_at(source, nbytes)
            return True

        self.queue(stream, copy)

    def cuStreamCreate(self, flags: int) -> int:
        assert flags == 1, "not CU_STREAM_NON_BLOCKING"
        return self._make(deque())

    def cuStreamDestroy(self, stream: int) -> None:
        self._finishing.append(self.live[stream])
        self._destroy(stream)

    def cuStreamSynchronize(self, stream: int) -> None:
        self.check_context()
        self.forbid_capture()
        while self.live[stream]:
            ran = False
            streams = [one for one in self.live.values() if isinstance(one, deque)]
            for steps in [*streams, *self._finishing]:
                if steps and steps[0]():
                    steps.popleft()
                    ran = True
            assert ran, "streams wait for each other"

    def cuCtxSynchronize(self) -> None:
        for handle, one in list(self.live.items()):
            if isinstance(one, deque):
                self.cuStreamSynchronize(handle)

    def cuEventCreate(self, flags: int) -> int:
        assert flags == 2, "not CU_EVENT_DISABLE_TIMING"
        return self._make(SimpleNamespace(last=None))

    def cuEventDestroy(self, event: int) -> None:
        self._destroy(event)

    def cuEventRecord(self, event: int, stream: int) -> None:
        passed = threading.Event()
        self.live[event].last = passed
        self.queue(stream, lambda: passed.set() or True)

    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        last = self.live[event].last
        if last is not None:
            self.queue(stream, last.is_set)

    def cuStreamBeginCapture(self, stream: int, mode: int) -> None:
        assert mode == "thread local"
        assert stream in self.live
        assert stream not in self._captures
        self._captures[stream] = SimpleNamespace(thread=threading.get_ident(), steps=[], valid=True)

    def cuStreamEndCapture(self, stream: int) -> int:
        capture = self._captures.pop(stream)
        assert capture.thread == threading.get_ident()
        if not capture.valid:
            raise Failure("operation failed due to a previous error during capture")
        return self._make(capture.steps)

    def cuGraphInstantiate(self, graph: int, flags: int) -> int:
        return self._make(list(self.live[graph]))

    def cuGraphDestroy(self, graph: int) -> None:
        self._destroy(graph)

    def cuGraphLaunch(self, graph: int, stream: int) -> None:
        for step in self.live[graph]:
            self.queue(stream, step)

    def cuGraphExecDestroy(self, graph: int) -> None:
        self._destroy(graph)


class FakeBindings:
    """The module ``cuda.bindings.driver``."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local")
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL=9)

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.last_error = b""

    def cuGetErrorString(self, error: int) -> tuple:
        return 0, self.last_error

    def __getattr__(self, name: str) -> Callable[..., tuple]:
        if name not in vars(FakeGpu) or not name.startswith("cu"):
            raise AttributeError(name)

        def function(*args: object) -> tuple:
            try:
                value = self.gpu.call(name, *args)
            except Failure as failure:
                self.last_error = failure.text.encode()
                return 1, None
            return (0, *(value if isinstance(value, tuple) else () if value is None else (value,)))

        return function


class FakePyCuda:
    """The module ``pycuda.driver``; as in it, objects go in the context that they were made in."""

    class Error(Exception): ...

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.Device = type("Device", (_Device,), {"cu": self, "count": staticmethod(self._count)})
        self.Context = type(
            "Context",
            (_Context,),
            {
                "cu": self,
                "pop": staticmethod(lambda: self.run("cuCtxPopCurrent")),
                "synchronize": staticmethod(lambda: self.run("cuCtxSynchronize")),
            },
        )
        self.Stream = type("Stream", (_Stream,), {"cu": self})
        self.Event = type("Event", (_Event,), {"cu": self})

    def run(self, name: str, *args: object) -> object:
        try:
            return self.gpu.call(name, *args)
        except Failure as failure:
            raise self.Error(f"{name} failed: {failure.text}") from failure

    def init(self, flags: int = 0) -> None:
        self.run("cuInit", flags)

    def _count(self) -> int:
        return self.run("cuDeviceGetCount")

    def mem_alloc(self, nbytes: int) -> "_Allocation":
        return _Allocation(self, self.run("cuMemAlloc", nbytes), "cuMemFree")

    def pagelocked_empty(self, shape: int, dtype: type) -> np.ndarray:
        address = self.run("cuMemHostAlloc", shape, 0)
        owner = _Allocation(self, address, "cuMemFreeHost")
        owner.__array_interface__ = {
            "data": (address, False),
            "shape": (shape,),
            "typestr": np.dtype(dtype).str,
            "version": 3,
        }
        return np.asarray(owner)

    def memcpy_htod_async(self, dest: int, src: np.ndarray, stream: "_Stream") -> None:
        self.run("cuMemcpyHtoDAsync", dest, src, src.nbytes, stream.handle)

    def memcpy_dtoh_async(self, dest: np.ndarray, src: int, stream: "_Stream") -> None:
        self.run("cuMemcpyDtoHAsync", dest, src, dest.nbytes, stream.handle)


class _Device:
    def __init__(self, index: int) -> None:
        self.index = self.cu.run("cuDeviceGet", index)

    def name(self) -> str:
        return self.cu.run("cuDeviceGetName", 256, self.index).rstrip(b"\0").decode()

    def compute_capability(self) -> tuple[int, int]:
        return self.cu.run("cuDeviceComputeCapability", self.index)

    def retain_primary_context(self) -> "_Context":
        return self.cu.Context(self.cu.run("cuDevicePrimaryCtxRetain", self.index))


class _Context:
    def __init__(self, handle: int) -> None:
        self.handle = handle

    def push(self) -> None:
        self.cu.run("cuCtxPushCurrent", self.handle)


class _Allocation:
    def __init__(self, cu: FakePyCuda, address: int, destroy: str) -> None:
        self._cu, self._address, self._destroy = cu, address, destroy

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._cu.run(self._destroy, self._address)


class _Stream:
    def __init__(self, flags: int) -> None:
        self.handle = self.cu.run("cuStreamCreate", flags)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self.cu.run("cuStreamDestroy", self.handle)

    def synchronize(self) -> None:
        self.cu.run("cuStreamSynchronize", self.handle)

    def wait_for_event(self, event: "_Event") -> None:
        self.cu.run("cuStreamWaitEvent", self.handle, event.handle_, 0)


class _Event:
    def __init__(self, flags: int) -> None:
        self.handle_ = self.cu.run("cuEventCreate", flags)

    def __del__(self) -> None:
        if hasattr(self, "handle_"):
            self.cu.run("cuEventDestroy", self.handle_)

    def record(self, stream: _Stream) -> None:
        self.cu.run("cuEventRecord", self.handle_, stream.handle)


PACKAGES = {"cuda.bindings": FakeBindings, "pycuda": FakePyCuda}
