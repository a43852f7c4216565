"""What goes to the GPU in one piece, from memory that is used again."""

import threading
import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_edge.engines.cuda.device import Device
from fer_edge.engines.cuda.memory import DeviceBuffer, PinnedBuffer
from fer_edge.engines.cuda.stream import Event, Stream

MOST_IDLE = 256 << 20
"""Bytes of memory that are kept for what goes up next; two frames of 8k, or eighty of 1080 rows."""

_LEAST = 4096
ALIGNMENT = 16
"""Of what lies in one piece, in bytes: no number in it is longer."""


class _Slot(NamedTuple):
    host: PinnedBuffer
    gpu: DeviceBuffer
    arrived: Event
    size: int


class Sent:
    """Arrays one after the other on the GPU, until this is garbage.

    Who queues what reads them waits for ``arrived`` on its stream, and for its stream before it
    lets this go.
    """

    def __init__(self, uploads: "Uploads", slot: _Slot, offsets: Sequence[int]) -> None:
        self.arrived = slot.arrived
        self.pointers = tuple(slot.gpu.pointer + offset for offset in offsets)
        """Addresses, in the order of the arrays."""
        weakref.finalize(self, uploads.take_back, slot).atexit = False


class Uploads:
    """Sends arrays to a GPU on a stream of its own; any thread may, inside ``with device``."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.stream = Stream(device)
        # Reentrant: garbage may be collected, and slots come back, wherever Python allocates.
        self._lock = threading.RLock()
        self._idle: defaultdict[int, list[_Slot]] = defaultdict(list)
        self.idle_bytes = 0

    def send(self, *arrays: NDArray[Any]) -> Sent:
        """Queue the upload of arrays of any layout, which become C-contiguous."""
        offsets, end = [], 0
        for array in arrays:
            offsets.append(end)
            end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        slot = self._slot(_rounded(max(end, 1)))
        sent = Sent(self, slot, offsets)
        for array, offset in zip(arrays, offsets, strict=True):
            place = slot.host.array[offset : offset + array.nbytes]
            np.copyto(place.view(array.dtype).reshape(array.shape), array)
        self.stream.upload(slot.host.array[:end], slot.gpu)
        slot.arrived.record(self.stream)
        return sent

    def take_back(self, slot: _Slot) -> None:
        """Keep it for the next, or free it where enough is kept."""
        with self._lock:
            keep = self.idle_bytes + slot.size <= MOST_IDLE
            if keep:
                self.idle_bytes += slot.size
                self._idle[slot.size].append(slot)
        if not keep:
            for resource in slot[:3]:
                resource.free()

    def _slot(self, size: int) -> _Slot:
        with self._lock:
            if self._idle[size]:
                self.idle_bytes -= size
                return self._idle[size].pop()
        host = PinnedBuffer(self._device, (size,), np.uint8)
        return _Slot(host, DeviceBuffer(self._device, size), Event(self._device), size)


def _rounded(nbytes: int) -> int:
    """Of few sizes, an eighth too large at most, so that slots fit again."""
    step = max(1 << (nbytes.bit_length() - 4), _LEAST)
    return -(-nbytes // step) * step
