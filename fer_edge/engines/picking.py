"""What of a network's outputs goes down from a GPU, where most of them are of no use."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_edge.detector_contract import BOXES, LANDMARKS, SCORES
from fer_edge.engines import cuda
from fer_edge.engines.frames import FrameGpu

_BLOCK = 128
_ROW = np.dtype(
    [
        ("place", np.int32),
        ("score", np.float32),
        ("box", np.float32, 4),
        ("landmarks", np.float32, 10),
    ]
)
"""``struct Candidate`` of the kernel."""

_HEAD = _ROW.itemsize
"""Bytes before the rows, which begin with their number."""

_AT_ONCE = 128
"""Rows for a frame that come down with their number; a face has about ten."""


class Picker(ABC):
    """Picks of the outputs of one batch at a time, into memory of its own."""

    @abstractmethod
    def queue(self, stream: cuda.Stream, outputs: Mapping[str, int], number: int) -> None:
        """Queue it after what writes the outputs, of ``number`` rows at these addresses."""

    @abstractmethod
    def collect(self, stream: cuda.Stream) -> list[Any]:
        """An answer for each row, once ``stream`` has been waited for; the caller's to keep."""

    @abstractmethod
    def free(self) -> None: ...


class Pick(ABC):
    """Says what to pick, and makes what does."""

    @abstractmethod
    def picker(self, batch: int) -> Picker:
        """For batches of at most so many rows; inside ``with device``."""

    @abstractmethod
    def apply(self, picker: Picker) -> None:
        """Have a picker that :meth:`picker` of another such made pick this the next time."""


class Candidates(NamedTuple):
    """What a detector says of N anchors."""

    boxes: NDArray[np.float32]
    """(N, 4): x0, y0, x1, y1 in pixels of the frame."""
    scores: NDArray[np.float32]
    """(N,), 0..1"""
    landmarks: NDArray[np.float32]
    """(N, 10): x, y in pixels of eyes, nose and corners of the mouth, left to right."""


class Surest(Pick):
    """Of a detector's outputs, what is as sure as ``least``, by frame in the order of the anchors.

    Of a frame of 640x480 come 128 rows of 64 bytes, and more where more are as sure; not 756 kB.
    """

    def __init__(self, gpu: FrameGpu, anchors: int, least: float) -> None:
        self._gpu, self._anchors, self._least = gpu, anchors, least

    def picker(self, batch: int) -> "SurestPicker":
        return SurestPicker(self._gpu, self._anchors, batch)

    def apply(self, picker: Picker) -> None:
        assert isinstance(picker, SurestPicker)
        picker.least = self._least


class SurestPicker(Picker):
    """The kernel ``candidates`` and what it writes."""

    least = 0.0
    """Less sure anchors stay on the GPU."""

    def __init__(self, gpu: FrameGpu, anchors: int, batch: int) -> None:
        device = gpu.device
        self._kernel = gpu.candidates
        self._anchors = anchors
        self._number = 0
        self._none = cuda.PinnedBuffer(device, (_HEAD,), np.uint8)
        self._none.array[:] = 0
        nbytes = _HEAD + batch * anchors * _ROW.itemsize
        self._host = cuda.PinnedBuffer(device, (nbytes,), np.uint8)
        self._found = cuda.DeviceBuffer(device, nbytes)

    def queue(self, stream: cuda.Stream, outputs: Mapping[str, int], number: int) -> None:
        self._number = number
        stream.upload(self._none.array, self._found)
        anchors = number * self._anchors
        self._kernel.launch(
            *(stream, (-(-anchors // _BLOCK), 1, 1), (_BLOCK, 1, 1)),
            *(np.uint64(outputs[name]) for name in (SCORES, BOXES, LANDMARKS)),
            *(np.int32(anchors), np.float32(self.least)),
            *(np.uint64(self._found.pointer), np.uint64(self._found.pointer + _HEAD)),
        )
        self._fetched = min(anchors, number * _AT_ONCE)
        stream.download(self._found, self._host.array[: _HEAD + self._fetched * _ROW.itemsize])

    def collect(self, stream: cuda.Stream) -> list[Candidates]:
        count = int(self._host.array[:4].view(np.int32)[0])
        end = _HEAD + count * _ROW.itemsize
        if count > self._fetched:
            stream.download(self._found, self._host.array[:end])
            stream.synchronize()
        rows = self._host.array[_HEAD:end].view(_ROW)
        rows = rows[np.argsort(rows["place"])]
        ends = np.searchsorted(rows["place"], np.arange(1, self._number + 1) * self._anchors)
        parts = np.split(rows, ends[:-1])
        return [
            Candidates(*(np.ascontiguousarray(one[name]) for name in ("box", "score", "landmarks")))
            for one in parts
        ]

    def free(self) -> None:
        for memory in (self._none, self._host, self._found):
            memory.free()
