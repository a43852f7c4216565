# ruff: noqa: ARG002, N802, N818
"""A GPU on host memory, asynchronous as a real one, as cuda-bindings and as PyCUDA show it."""

import ctypes
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace

import numpy as np

from .emulation import KERNELS

Step = Callable[[], bool]
"""Runs on the GPU; False as long as it has to wait."""


class Failure(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


LEGACY = 1
"""CU_STREAM_LEGACY, on which libraries queue that name no stream."""
ALIGNMENT = 256
"""Of what cuMemAlloc gives."""


class FakeGpu:
    """The driver API of one GPU or several of a kind.

    Streams run when one is waited for: a step of each in turn, so that what was not ordered by a
    stream or an event runs in between. Memory is looked up when it is used. What was made on one
    GPU goes in its primary context only. After :meth:`break_down`, as after an illegal access,
    every call fails.
    """

    PRIMARY = 0xC0DE
    """Primary context of the first GPU; those of others follow."""

    def __init__(self) -> None:
        self.live: dict[int, object] = {}
        """What was made and not destroyed, by address or handle."""
        self.device_of: dict[int, int] = {}
        """On which GPU each was made."""
        self.default_stream: deque[Step] = deque()
        self.broken: str | None = None
        """Text of the error that every call gives."""
        self.calls: list[str] = []
        self.launched: list[int] = []
        """Rows that each launch of ``resample`` made."""
        self.uploaded: list[int] = []
        self.downloaded: list[int] = []
        """Bytes of each copy from and to the host."""
        self.errors: dict[str, str] = {}
        """Text of the error that a function answers with."""
        self.fail_after = -1
        """How many more things can be made before the GPU is out of memory; -1 for any number."""
        self.memory = 1 << 30
        """Bytes of each GPU."""
        self.count = 1
        self.name = "Fake GPU"
        self.capability = (8, 7)
        self.multiprocessors = 16
        self.driver_version = 12060
        self.graphs_supported = True
        self.retained = 0
        self.pushed = self.most_pushed = 0
        """Contexts on all stacks of all threads, now and at most."""
        self.lock = threading.RLock()
        self._thread = threading.local()
        self._handles = itertools.count(1000)
        self._finishing: list[deque] = []
        """Work of streams that were destroyed."""
        self._pinned: set[int] = set()
        self._captures: dict[int, SimpleNamespace] = {}

    @property
    def stack(self) -> list[int]:
        """Contexts of the calling thread, the current one last."""
        return self._thread.__dict__.setdefault("stack", [])

    def call(self, name: str, *args: object) -> object:
        with self.lock:
            self.calls.append(name)
            if self.broken is not None:
                raise Failure(self.broken)
            if name in self.errors:
                raise Failure(self.errors[name])
            return getattr(self, name)(*args)

    def break_down(self, text: str = "an illegal memory access was encountered") -> None:
        """Fail every call from now on."""
        self.broken = text
        self.pushed = 0  # nobody can pop

    def steps_of(self, stream: int) -> "deque[Step]":
        """What a stream has to do yet."""
        return self.default_stream if stream == LEGACY else self.live[stream]

    def current(self) -> int:
        """The GPU whose primary context is the calling thread's current one."""
        if self.broken is not None:
            raise Failure(self.broken)
        index = self.stack[-1] - self.PRIMARY if self.stack else -1
        if not 0 <= index < self.count:
            raise Failure("invalid device context")
        return index

    def check_context(self, *used: int) -> None:
        """Of a call on those handles or addresses."""
        device = self.current()
        if any(self.device_of[one] != device for one in used if one != LEGACY):
            raise Failure("invalid resource handle")

    def forbid_capture(self) -> None:
        """Of calls that cannot be captured: they fail, and take the thread's captures with them."""
        for capture in self._captures.values():
            if capture.thread == threading.get_ident():
                capture.valid = False
                raise Failure("operation not permitted when stream is capturing")

    def queue(self, stream: int, step: Step) -> None:
        self.check_context(stream)
        capture = self._captures.get(stream)
        (self.steps_of(stream) if capture is None else capture.steps).append(step)

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
        self.device_of[handle] = self.current()
        return handle

    def _destroy(self, handle: int) -> None:
        self.check_context(handle)
        del self.live[handle]

    def _allocate(self, nbytes: int) -> int:
        assert nbytes > 0
        whole = ctypes.create_string_buffer(nbytes + ALIGNMENT)
        offset = -ctypes.addressof(whole) % ALIGNMENT
        block = (ctypes.c_char * nbytes).from_buffer(whole, offset)
        ctypes.memset(block, 0xAB, nbytes)
        return self._make(block, ctypes.addressof(block))

    def used(self) -> int:
        """Bytes of the current GPU that are allocated."""
        device = self.current()
        return sum(
            len(block)
            for address, block in self.live.items()
            if isinstance(block, ctypes.Array)
            and self.device_of[address] == device
            and address not in self._pinned
        )

    def _deallocate(self, address: int) -> None:
        self.forbid_capture()
        self._destroy(address)

    def cuInit(self, flags: int) -> None: ...

    def cuDeviceGetCount(self) -> int:
        return self.count

    def cuDriverGetVersion(self) -> int:
        return self.driver_version

    def cuDeviceGetAttribute(self, attribute: object, device: int) -> int:
        assert attribute == "multiprocessors"
        return self.multiprocessors

    def cuDeviceTotalMem(self, device: int) -> int:
        return self.memory

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
        return self.PRIMARY + device

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
        if self.used() + nbytes > self.memory:
            raise Failure("out of memory")
        return self._allocate(nbytes)

    def cuMemFree(self, address: int) -> None:
        self._deallocate(address)

    def cuMemHostAlloc(self, nbytes: int, flags: int) -> int:
        address = self._allocate(nbytes)
        self._pinned.add(address)
        return address

    def cuMemFreeHost(self, address: int) -> None:
        self._deallocate(address)

    def cuModuleLoadData(self, image: bytes) -> bytes:
        self.check_context()
        assert image.endswith(b"\0"), "the driver would read on"
        return image

    def cuModuleGetFunction(self, module: bytes, name: bytes) -> bytes:
        assert b".entry " + name + b"(" in module
        return name

    def cuLaunchKernel(self, function: bytes, *options: object) -> None:
        """Kernels are the one that accesses what it must not, and those of frames."""
        *sizes, shared, stream, given, extra = options
        if function == b"illegal":
            self.queue(stream, lambda: self.break_down() or True)
            return
        assert (shared, extra) == (0, 0)
        work, kinds = KERNELS[function]
        if isinstance(given, int):  # as the driver has them, which copies them now
            addresses = (ctypes.c_void_p * len(kinds)).from_address(given)
            pairs = zip(kinds, addresses, strict=True)
            given = [kind.from_address(address).value for kind, address in pairs]
        arguments = [one.item() if isinstance(one, np.generic) else one for one in given]

        def step() -> bool:
            work(self.bytes_at, sizes, *arguments)
            if function == b"resample":
                self.launched.append(sizes[2])
            return True

        self.queue(stream, step)

    def cuPointerGetAttribute(self, attribute: int, address: int) -> int:
        self.bytes_at(address, 1)
        return max(
            (start, self.device_of[start])
            for start, block in self.live.items()
            if isinstance(block, ctypes.Array) and start <= address
        )[1]

    def cuMemcpyHtoDAsync(self, target: int, source: np.ndarray, nbytes: int, stream: int) -> None:
        self.uploaded.append(nbytes)
        self._copy(target, source.ctypes.data, nbytes, stream)

    def cuMemcpyDtoHAsync(self, target: np.ndarray, source: int, nbytes: int, stream: int) -> None:
        self.downloaded.append(nbytes)
        self._copy(target.ctypes.data, source, nbytes, stream)

    def cuMemcpyDtoDAsync(self, target: int, source: int, nbytes: int, stream: int) -> None:
        self._copy(target, source, nbytes, stream)

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
        self.check_context(stream)
        self.forbid_capture()
        while self.steps_of(stream):
            ran = False
            streams = [one for one in self.live.values() if isinstance(one, deque)]
            for steps in [*streams, self.default_stream, *self._finishing]:
                if steps and steps[0]():
                    steps.popleft()
                    ran = True
            if self.broken is not None:
                raise Failure(self.broken)
            assert ran, "streams wait for each other"

    def cuCtxSynchronize(self) -> None:
        for handle, one in list(self.live.items()):
            if isinstance(one, deque):
                self.cuStreamSynchronize(handle)

    def cuEventCreate(self, flags: int) -> int:
        assert flags in (0, 2), "neither CU_EVENT_DEFAULT nor CU_EVENT_DISABLE_TIMING"
        return self._make(SimpleNamespace(last=None, timed=flags == 0))

    def cuEventDestroy(self, event: int) -> None:
        self._destroy(event)

    def cuEventRecord(self, event: int, stream: int) -> None:
        self.check_context(stream, event)
        passed = threading.Event()
        self.live[event].last = passed

        def step() -> bool:
            passed.at = time.perf_counter()
            passed.set()
            return True

        self.queue(stream, step)

    def cuEventElapsedTime(self, start: int, end: int) -> float:
        """Milliseconds."""
        events = [self.live[start], self.live[end]]
        if not all(event.timed and event.last is not None for event in events):
            raise Failure("invalid resource handle")
        if not all(event.last.is_set() for event in events):
            raise Failure("device not ready")
        return 1e3 * (events[1].last.at - events[0].last.at)

    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        last = self.live[event].last
        if last is not None:
            self.queue(stream, last.is_set)

    def cuStreamBeginCapture(self, stream: int, mode: int) -> None:
        assert mode == "thread local"
        assert stream in self.live
        assert stream not in self._captures
        assert stream != LEGACY
        self.check_context(stream)
        if not self.graphs_supported:
            raise Failure("operation not supported")
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
        self.check_context(graph, stream)
        for step in self.live[graph]:
            self.queue(stream, step)

    def cuGraphExecDestroy(self, graph: int) -> None:
        self._destroy(graph)


class FakeBindings:
    """The module ``cuda.bindings.driver``."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local")
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL=9)
    CUdevice_attribute = SimpleNamespace(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT="multiprocessors")
    CUresult = int

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.last_error = b""

    def cuGetErrorString(self, error: int) -> tuple:
        return 0, self.last_error

    def __getattr__(self, name: str) -> Callable[..., tuple]:
        if name not in vars(FakeGpu) or not name.startswith("cu"):
            raise AttributeError(name)

        def function(*args: object) -> tuple:
            assert name != "cuStreamSynchronize", "old cuda-bindings keep the interpreter's lock"
            try:
                value = self.gpu.call(name, *args)
            except Failure as failure:
                self.last_error = failure.text.encode()
                return 1, None
            return (0, *(value if isinstance(value, tuple) else () if value is None else (value,)))

        return function


def fake_waiting(bindings: FakeBindings) -> Callable[[int], int]:
    """The driver's own cuStreamSynchronize, past cuda-bindings."""

    def wait(stream: int) -> int:
        try:
            bindings.gpu.call("cuStreamSynchronize", stream)
        except Failure as failure:
            bindings.last_error = failure.text.encode()
            return 1
        return 0

    return wait


class FakePyCuda:
    """The module ``pycuda.driver``; as in it, objects go in the context that they were made in."""

    class Error(Exception): ...

    device_attribute = SimpleNamespace(MULTIPROCESSOR_COUNT="multiprocessors")

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

    def get_driver_version(self) -> int:
        return self.run("cuDriverGetVersion")

    def module_from_buffer(self, image: bytes) -> SimpleNamespace:
        module = self.run("cuModuleLoadData", image)
        return SimpleNamespace(get_function=lambda name: self._function(module, name))

    def _function(self, module: bytes, name: str) -> Callable[..., None]:
        handle = self.run("cuModuleGetFunction", module, name.encode())

        def launch(
            *args: object, grid: tuple, block: tuple, shared: int, stream: "_Stream"
        ) -> None:
            assert all(isinstance(argument, np.generic) for argument in args), "of unknown size"
            sizes = *grid, *block
            self.run("cuLaunchKernel", handle, *sizes, shared, stream.handle, args, 0)

        return launch

    def memcpy_dtod_async(self, dest: int, src: int, size: int, stream: "_Stream") -> None:
        self.run("cuMemcpyDtoDAsync", dest, src, size, stream.handle)

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

    def get_attribute(self, attribute: object) -> int:
        return self.cu.run("cuDeviceGetAttribute", attribute, self.index)

    def total_memory(self) -> int:
        return self.cu.run("cuDeviceTotalMem", self.index)

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
            with suppress(self.cu.Error):
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
            with suppress(self.cu.Error):
                self.cu.run("cuEventDestroy", self.handle_)

    def time_since(self, earlier: "_Event") -> float:
        return self.cu.run("cuEventElapsedTime", earlier.handle_, self.handle_)

    def record(self, stream: _Stream) -> None:
        self.cu.run("cuEventRecord", self.handle_, stream.handle)


PACKAGES = {"cuda.bindings": FakeBindings, "pycuda": FakePyCuda}
