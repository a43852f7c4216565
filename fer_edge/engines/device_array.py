"""Arrays that are on the GPU already, as other libraries give them.

Read by DLPack, https://dmlc.github.io/dlpack/latest/python_spec.html, or where a library has none
by the CUDA Array Interface, https://nvidia.github.io/numba-cuda/user/cuda_array_interface.html.
"""

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np

from fer_edge.engines import cuda
from fer_edge.engines.base import batch_of
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.errors import InputError


class SupportsDlpack(Protocol):
    """A tensor of torch, an array of CuPy or JAX, …"""

    def __dlpack__(self, *, stream: int | None = None) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


class SupportsCudaArrayInterface(Protocol):
    """An array of Numba, PyCUDA, …"""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


DeviceArray = SupportsDlpack | SupportsCudaArrayInterface


@dataclass(frozen=True, eq=False)
class DeviceFaces(OnGpu):
    """Faces in GPU memory: uint8, C-contiguous, (number, channels, size, size)."""

    pointer: int
    count: int
    face_bytes: int
    owner: object
    """Keeps the memory from being freed or used again."""
    arrived: cuda.Event | None = None
    """When they have been written; None where who queues has waited."""

    @property
    def number(self) -> int:
        return self.count

    @property
    def row_bytes(self) -> int:
        return self.face_bytes

    def part(self, start: int, number: int) -> "DeviceFaces":
        """At most ``number`` of them from ``start`` on."""
        pointer = self.pointer + start * self.face_bytes
        return replace(self, pointer=pointer, count=min(number, self.count - start))

    def queue(self, stream: cuda.Stream, target: int) -> None:
        """Queue the copy."""
        if self.arrived is not None:
            stream.wait(self.arrived)
        stream.copy(self.pointer, target, self.count * self.face_bytes)


class DeviceFrame(NamedTuple):
    """A frame in GPU memory: uint8, a row's pixels without gaps."""

    pointer: int
    height: int
    width: int
    channels: int
    """3, or 1 of gray."""
    pitch: int
    """Bytes from one row to the next."""
    owner: object
    """As of DeviceFaces."""


class _Layout(NamedTuple):
    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    """In bytes; None is C-contiguous."""
    dtype: str
    device: int | None
    owner: object


def is_device_array(array: object) -> TypeGuard[DeviceArray]:
    """Whether it speaks one of the protocols; numpy arrays are not meant."""
    if isinstance(array, np.ndarray):
        return False
    return hasattr(array, "__dlpack__") or hasattr(array, "__cuda_array_interface__")


def import_faces(
    faces: DeviceArray, device: cuda.Device, stream: cuda.Stream, face: tuple[int, int, int]
) -> DeviceFaces:
    """Take faces without a copy; what is queued on ``stream`` from now on finds them written.

    Parameters
    ----------
    face : tuple of int
        Shape of one: (channels, size, size).

    Raises
    ------
    InputError
        Not uint8, not (N, *face), not C-contiguous, or not on ``device``.
    """
    layout = _read(faces, device, stream)
    if layout.dtype != "uint8" or layout.shape[1:] != face:
        raise InputError(
            f"Faces must be uint8 {batch_of(face)}, got {layout.dtype} {layout.shape}."
        )
    if not layout.shape[0]:
        raise InputError("A call needs a face at least.")
    if not _contiguous(layout.shape, layout.strides):
        raise InputError(
            "Faces on the GPU must be C-contiguous.", hint="Make a contiguous copy of them."
        )
    return DeviceFaces(layout.pointer, layout.shape[0], math.prod(face), layout.owner)


def import_frame(frame: DeviceArray, device: cuda.Device, stream: cuda.Stream) -> DeviceFrame:
    """Take a frame without a copy; what is queued on ``stream`` from now on finds it written.

    Raises
    ------
    InputError
        Not uint8 (H, W, 3) or (H, W), without a pixel, with gaps between the pixels of a row, or
        not on ``device``.
    """
    layout = _read(frame, device, stream)
    shape, strides = layout.shape, layout.strides
    color = len(shape) == 3 and shape[2] == 3
    if layout.dtype != "uint8" or not (len(shape) == 2 or color) or not math.prod(shape):
        raise InputError(
            f"A frame on the GPU must be uint8 (H, W, 3) or (H, W) with a pixel at least, got "
            f"{layout.dtype} {shape}."
        )
    if strides is not None and not _contiguous(shape[1:], strides[1:]):
        raise InputError(
            "The pixels of a row of a frame on the GPU must lie without gaps.",
            hint="Make a contiguous copy of it.",
        )
    channels = 3 if color else 1
    pitch = shape[1] * channels if strides is None or shape[0] == 1 else strides[0]
    return DeviceFrame(layout.pointer, shape[0], shape[1], channels, pitch, layout.owner)


def _read(array: DeviceArray, device: cuda.Device, stream: cuda.Stream) -> _Layout:
    """What an array is, which must be on ``device``."""
    # DLPack first: it orders streams, and torch's array interface does not.
    if hasattr(array, "__dlpack__"):
        layout = _read_dlpack(array, device, stream)
    else:
        layout = _read_interface(array, device)
    if layout.device not in (None, device.index):
        raise InputError(
            f"This array is on GPU {layout.device}, and the engine is on GPU {device.index}.",
            hint="Copy it, or open the engine on its GPU.",
        )
    return layout


def _contiguous(shape: Sequence[int], strides: Sequence[int] | None) -> bool:
    """Of items of a byte."""
    wanted = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return strides is None or all(
        size == 1 or stride == contiguous
        for size, stride, contiguous in zip(shape, strides, wanted, strict=True)
    )


def _read_interface(array: Any, device: cuda.Device) -> _Layout:
    interface = array.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise InputError("Arrays on the GPU must not have a mask.")
    producer = interface.get("stream")
    if producer == 0:
        raise InputError(
            "This array names stream 0, which the CUDA Array Interface forbids as ambiguous.",
            hint="Hand it over by DLPack.",
        )
    # Whoever names no stream has written on the default one (PyCUDA, Numba), for which the engine's
    # streams do not wait. Older versions of the interface have no stream at all.
    device.wait_for(cuda.LEGACY_STREAM if producer is None else producer)
    pointer = interface["data"][0]
    return _Layout(
        pointer=pointer,
        shape=tuple(interface["shape"]),
        strides=interface.get("strides"),
        dtype=np.dtype(interface["typestr"]).name,
        device=device.index_of(pointer),
        owner=array,
    )


class _DlDevice(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class _DlTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _DlDevice),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _DlManagedTensorVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _DlTensor),
    )


_DL_CUDA, _DL_CUDA_MANAGED = 2, 13
_DL_CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}


def _read_dlpack(array: Any, device: cuda.Device, stream: cuda.Stream) -> _Layout:
    kind, index = array.__dlpack_device__()
    if kind not in (_DL_CUDA, _DL_CUDA_MANAGED):
        raise InputError(
            f"What goes in must be a numpy array or on the GPU, got {type(array).__name__} "
            "elsewhere.",
            hint="Hand over a numpy array of it.",
        )
    if index != device.index:
        # Its producer could not wait on a stream of another GPU.
        return _Layout(0, (), None, "", index, array)
    try:
        try:
            capsule = array.__dlpack__(stream=stream.address, max_version=(1, 0))
        except TypeError:  # written before DLPack 1.0
            capsule = array.__dlpack__(stream=stream.address)
    except BufferError as error:
        raise InputError(f"This array cannot be taken by DLPack: {error}.") from error
    return read_capsule(capsule)


def read_capsule(capsule: Any) -> _Layout:
    """What a DLPack capsule describes; its owner is the capsule, which frees what nobody took."""
    python = ctypes.pythonapi
    python.PyCapsule_IsValid.argtypes = python.PyCapsule_GetPointer.argtypes = (
        ctypes.py_object,
        ctypes.c_char_p,
    )
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    if python.PyCapsule_IsValid(capsule, b"dltensor_versioned"):
        address = python.PyCapsule_GetPointer(capsule, b"dltensor_versioned")
        managed = _DlManagedTensorVersioned.from_address(address)
        if managed.major != 1:
            raise InputError(f"DLPack {managed.major} is not known.", hint="Hand over DLPack 1.")
        tensor = managed.tensor
    else:
        tensor = _DlTensor.from_address(python.PyCapsule_GetPointer(capsule, b"dltensor"))
    itemsize = tensor.bits * tensor.lanes // 8
    lanes = f"x{tensor.lanes}" if tensor.lanes > 1 else ""
    return _Layout(
        pointer=(tensor.data or 0) + tensor.byte_offset,
        shape=tuple(tensor.shape[: tensor.ndim]),
        strides=tuple(stride * itemsize for stride in tensor.strides[: tensor.ndim])
        if tensor.strides
        else None,
        dtype=f"{_DL_CODES.get(tensor.code, 'opaque')}{tensor.bits}{lanes}",
        device=tensor.device.id,
        owner=capsule,
    )
