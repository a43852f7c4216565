"""Arrays on a fake GPU, as other libraries would hand them over."""

import ctypes

import numpy as np

from fer_edge.engines.device_array import _DlDevice, _DlManagedTensorVersioned, _DlTensor

from .cuda.fakes import FakeGpu

PyCapsule_New = ctypes.pythonapi.PyCapsule_New
PyCapsule_New.restype = ctypes.py_object
PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class GpuArray:
    """``content`` on the GPU, written by a stream that has not run yet."""

    def __init__(self, gpu: FakeGpu, content: np.ndarray) -> None:
        self.gpu = gpu
        self.shape, self.dtype = content.shape, content.dtype
        self.strides: tuple[int, ...] | None = None
        """In elements."""
        raw = content.tobytes() or b"\0"
        gpu.stack.append(gpu.PRIMARY)
        self.pointer = gpu.cuMemAlloc(len(raw))
        self.stream = gpu.cuStreamCreate(1)
        self.written = gpu.cuEventCreate(2)
        self.write(content)
        gpu.stack.pop()

    def write(self, content: np.ndarray) -> None:
        """Queue it on the producer's stream."""
        raw = content.tobytes() or b"\0"

        def step() -> bool:
            self.gpu.bytes_at(self.pointer, len(raw))[:] = raw
            return True

        self.gpu.stack.append(self.gpu.PRIMARY)
        for _ in range(20):  # who does not wait for the producer is sure to be first
            self.gpu.queue(self.stream, lambda: True)
        self.gpu.queue(self.stream, step)
        self.gpu.cuEventRecord(self.written, self.stream)
        self.gpu.stack.pop()

    def free(self) -> None:
        self.gpu.stack.append(self.gpu.PRIMARY)
        self.gpu.cuStreamSynchronize(self.stream)
        self.gpu.cuStreamDestroy(self.stream)
        self.gpu.cuEventDestroy(self.written)
        self.gpu.cuMemFree(self.pointer)
        self.gpu.stack.pop()


class WithInterface(GpuArray):
    @property
    def __cuda_array_interface__(self) -> dict:
        size = self.dtype.itemsize
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": self.strides and tuple(stride * size for stride in self.strides),
            "stream": self.stream,
            "version": 3,
        }


class WithDlpack(GpuArray):
    device = (2, 0)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: int, max_version: tuple[int, int] | None = None) -> object:
        return self.export(stream, versioned=max_version is not None)

    def export(self, stream: int, *, versioned: bool) -> object:
        self.gpu.cuStreamWaitEvent(stream, self.written, 0)
        int64s = ctypes.c_int64 * len(self.shape)
        self.kept = int64s(*self.shape), int64s(*(self.strides or self.shape))
        tensor = _DlTensor(
            data=self.pointer - 16,
            device=_DlDevice(*self.device),
            ndim=len(self.shape),
            code={"u": 1, "f": 2}[self.dtype.kind],
            bits=8 * self.dtype.itemsize,
            lanes=1,
            shape=self.kept[0],
            byte_offset=16,
        )
        if self.strides is not None:
            tensor.strides = self.kept[1]
        if versioned:
            self.managed = _DlManagedTensorVersioned(major=1, tensor=tensor)
            return PyCapsule_New(ctypes.addressof(self.managed), b"dltensor_versioned", None)
        self.managed = tensor
        return PyCapsule_New(ctypes.addressof(tensor), b"dltensor", None)


class WithOldDlpack(WithDlpack):
    """From before DLPack 1.0."""

    def __dlpack__(self, *, stream: int) -> object:
        return self.export(stream, versioned=False)


KINDS = (WithInterface, WithDlpack, WithOldDlpack)
