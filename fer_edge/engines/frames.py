"""Frames on a GPU: sent there once, and seen by networks at the sizes that those take.

One kernel, in cuda/frames.cu, makes of a frame what a detector takes of it, and of the faces in it
what a classifier takes. It computes as Pillow does: it makes no difference where that is done.
"""

import copy
import functools
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import Contract
from fer_edge.engines import cuda
from fer_edge.engines.cuda.driver import Driver, driver
from fer_edge.engines.device_array import DeviceArray, import_frame
from fer_edge.engines.on_gpu import Joined, OnGpu
from fer_edge.errors import EngineError
from fer_edge.pixels.boxes import Box, corner
from fer_edge.pixels.crops import crop_faces
from fer_edge.pixels.tables import Table, crop_table

Pixels = NDArray[np.uint8]

_KERNELS = Path(cuda.__file__).with_name("frames.ptx")
_BLOCK = (32, 8, 1)
"""Threads that share what they read: pixels of a few rows."""

_JOB = np.dtype(
    [
        ("pixels", np.uint64),
        ("pitch", np.int64),
        *((name, np.int32) for name in ("width", "height", "channels", "turned", "left", "top")),
        *((name, np.int32) for name in ("out_width", "out_height", "across", "across_taps")),
        *((name, np.int32) for name in ("down", "down_taps")),
    ]
)
"""``struct Job`` of the kernel."""

_log = logging.getLogger(__name__)


class FrameGpu:
    """What frames need of one GPU: the kernel, and memory through which they are sent.

    Raises
    ------
    EngineError
        There is no such GPU, or its driver does not take the kernel.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.device = cuda.Device(index)
        with self.device:
            module = cuda.Module(self.device, _KERNELS.read_bytes())
            self.resample = module.kernel("resample")
            self.candidates = module.kernel("candidates")
            self.uploads = cuda.Uploads(self.device)


def frames_on(index: int | None) -> FrameGpu | None:
    """What frames need of a GPU; None on a processor, and where they cannot be used there.

    Why not is told once, in a warning of this module's logger.
    """
    if index is None:
        return None
    try:
        current = driver()
    except EngineError as error:  # ONNX Runtime does without cuda-bindings
        _tell(index, str(error))
        return None
    return _frame_gpu(current, index)


@functools.cache
def _frame_gpu(current: Driver, index: int) -> FrameGpu | None:
    del current  # a GPU of another driver is another
    try:
        return FrameGpu(index)
    except EngineError as error:
        _tell(index, str(error))
        return None


@functools.cache
def _tell(index: int, why: str) -> None:
    _log.warning("Frames are scaled and cropped on the processor, not on cuda:%d. %s", index, why)


class _Placed(NamedTuple):
    """Where a frame is on the GPU."""

    pointer: int
    pitch: int
    arrived: cuda.Event
    turned: bool
    """Whether its channels are red, green, blue."""
    keep: object


class GpuFrame:
    """A frame that goes to a GPU when it is first needed there, and once.

    Any thread may use it.

    Parameters
    ----------
    image : uint8 array, shape (H, W, 3) in BGR or (H, W), or such a DeviceArray on that GPU
        It has been checked; the memory of a DeviceArray must not change before the answer is there.
    gpu : FrameGpu
    rgb : bool
        A DeviceArray's channels are red, green, blue.

    Raises
    ------
    InputError
        A DeviceArray that is no frame, or elsewhere.
    """

    def __init__(self, image: Pixels | DeviceArray, gpu: FrameGpu, *, rgb: bool = False) -> None:
        self.gpu = gpu
        self._lock = threading.Lock()
        self._placed: _Placed | None = None
        self._image: Pixels | None = None
        if isinstance(image, np.ndarray):
            self._image = image
            self.shape = image.shape
            """(H, W, 3), or (H, W) of gray, as of an array."""
            return
        with gpu.device:
            taken = import_frame(image, gpu.device, gpu.uploads.stream)
            arrived = cuda.Event(gpu.device)
            arrived.record(gpu.uploads.stream)
        self._placed = _Placed(taken.pointer, taken.pitch, arrived, rgb, taken.owner)
        self.shape = (taken.height, taken.width, 3)[: 3 if taken.channels == 3 else 2]

    @property
    def channels(self) -> int:
        return 3 if len(self.shape) == 3 else 1

    def place(self) -> _Placed:
        """Have it sent, where it has not been yet; inside ``with device``."""
        with self._lock:
            if self._placed is None:
                assert self._image is not None
                image = self._image
                # A photo in RGB, turned by a view: its bytes are copied faster as they lie.
                turned = image.ndim == 3 and image.strides[2] < 0
                sent = self.gpu.uploads.send(image[..., ::-1] if turned else image)
                pitch = image.shape[1] * self.channels
                self._placed = _Placed(sent.pointers[0], pitch, sent.arrived, turned, sent)
            return self._placed

    def on_host(self) -> Pixels:
        """The frame in host memory, BGR or gray."""
        with self._lock:
            if self._image is None:
                self._image = self._downloaded()
            return self._image

    def _downloaded(self) -> Pixels:
        placed, device = self._placed, self.gpu.device
        assert placed is not None
        height, row = self.shape[0], self.shape[1] * self.channels
        with device:
            host = cuda.PinnedBuffer(device, (height, row), np.uint8)
            # Of padded rows, the last may end with the allocation.
            packed = cuda.DeviceBuffer(device, host.array.nbytes)
            stream = self.gpu.uploads.stream
            for y in range(height) if placed.pitch != row else (0,):
                nbytes = row if placed.pitch != row else height * row
                stream.copy(placed.pointer + y * placed.pitch, packed.pointer + y * row, nbytes)
            stream.download(packed, host.array)
            stream.synchronize()
            image = host.array.reshape(self.shape).copy()
            host.free()
            packed.free()
        return image[..., ::-1] if placed.turned and image.ndim == 3 else image

    def crops(self, boxes: Sequence[Box], contract: Contract) -> "Crops":
        """The faces in it, as :func:`fer_edge.pixels.crops.crop_faces` cuts them out."""
        return Crops(self, boxes, contract)

    def resampled(self, layout: "Layout", pieces: Sequence["Piece"]) -> "Resampled":
        """Parts of it at another size, a row of a network's input each."""
        return Resampled(self, layout, pieces)


class Layout(NamedTuple):
    """What a network takes for one face or frame: uint8."""

    width: int
    height: int
    channels: int
    planar: bool
    """(channels, height, width) in RGB, or else (height, width, channels) in BGR."""
    margin: tuple[int, ...] = (0, 0, 0)
    """What is around a piece that is smaller, by channel."""


class Piece(NamedTuple):
    """A part of a frame, and how it is resized."""

    left: int
    top: int
    """In pixels of the frame; what lies over the border repeats its pixels."""
    across: Table
    """For the columns, as :mod:`fer_edge.pixels.tables` makes it; its length is the new width."""
    down: Table
    """For the rows."""


class Resampled(OnGpu):
    """Pieces of one frame, made where a network reads them."""

    def __init__(self, frame: GpuFrame, layout: Layout, pieces: Sequence[Piece]) -> None:
        self.frame = frame
        self.layout = layout
        self._start, self._number = 0, len(pieces)
        self._jobs = _Jobs(frame, layout, pieces)

    @property
    def number(self) -> int:
        return self._number

    @property
    def row_bytes(self) -> int:
        return self.layout.width * self.layout.height * self.layout.channels

    def part(self, start: int, number: int) -> "Resampled":
        """At most ``number`` of them from ``start`` on."""
        part = copy.copy(self)
        part._start = self._start + start
        part._number = min(number, self._number - start)
        return part

    def send(self) -> None:
        """Begin with the upload of the frame, beside what the GPU does now. Any thread may."""
        with self.frame.gpu.device:
            self._jobs.send()

    def queue(self, stream: cuda.Stream, target: int) -> None:
        """Queue the kernel."""
        sent, placed = self._jobs.send()
        stream.wait(sent.arrived)
        stream.wait(placed.arrived)
        layout = self.layout
        jobs, tables = sent.pointers
        grid = (-(-layout.width // _BLOCK[0]), -(-layout.height // _BLOCK[1]), self._number)
        margin = sum(value << 8 * channel for channel, value in enumerate(layout.margin))
        self.frame.gpu.resample.launch(
            *(stream, grid, _BLOCK),
            np.uint64(jobs + self._start * _JOB.itemsize),
            *(np.uint64(tables), np.uint64(target)),
            *map(np.int32, (layout.width, layout.height, layout.channels, layout.planar)),
            np.uint32(margin),
        )


class _Jobs:
    """What the kernel is told of all pieces; parts of them share it."""

    def __init__(self, frame: GpuFrame, layout: Layout, pieces: Sequence[Piece]) -> None:
        self._frame, self._layout, self._pieces = frame, layout, pieces
        self._lock = threading.Lock()
        self._sent: cuda.Sent | None = None

    def send(self) -> tuple[cuda.Sent, _Placed]:
        """Both may be read where their events have passed; inside ``with device``."""
        placed = self._frame.place()
        with self._lock:
            if self._sent is None:
                self._sent = self._frame.gpu.uploads.send(*self._told(placed))
            return self._sent, placed

    def _told(self, placed: _Placed) -> tuple[NDArray[np.void], NDArray[np.int32]]:
        frame = self._frame
        # A frame is BGR; the planes of a classifier are RGB.
        turned = self._layout.planar != placed.turned
        starts: dict[int, int] = {}
        tables: list[Table] = []
        end = 0
        for table in (table for piece in self._pieces for table in piece[2:]):
            if id(table) not in starts:
                starts[id(table)] = end
                tables.append(table.ravel())
                end += table.size
        jobs = [
            (
                *(placed.pointer, placed.pitch, frame.shape[1], frame.shape[0], frame.channels),
                *(turned, piece.left, piece.top, len(piece.across), len(piece.down)),
                *(starts[id(piece.across)], piece.across.shape[1] - 1),
                *(starts[id(piece.down)], piece.down.shape[1] - 1),
            )
            for piece in self._pieces
        ]
        return np.array(jobs, _JOB), np.concatenate(tables)


class Crops(Resampled):
    """The faces in a frame, for a classifier on its GPU or anywhere."""

    def __init__(self, frame: GpuFrame, boxes: Sequence[Box], contract: Contract) -> None:
        size = contract.size
        pieces = []
        for box in boxes:
            left, top, side = corner(box)
            table = crop_table(side, size)
            pieces.append(Piece(left, top, table, table))
        super().__init__(frame, Layout(size, size, contract.channels, planar=True), pieces)
        self._boxes, self._contract = boxes, contract

    def on_host(self) -> Pixels:
        """The same in host memory, (N, *contract.crop_shape)."""
        boxes = self._boxes[self._start : self._start + self._number]
        return crop_faces(self.frame.on_host(), boxes, self._contract)


class HostRows(OnGpu):
    """Rows from host memory, to be joined with what is on the GPU."""

    def __init__(self, rows: Pixels, gpu: FrameGpu) -> None:
        self._rows, self._gpu = rows, gpu
        self._sent: list[cuda.Sent] = []

    @property
    def number(self) -> int:
        return len(self._rows)

    @property
    def row_bytes(self) -> int:
        return self._rows[0].nbytes

    def part(self, start: int, number: int) -> "HostRows":
        """At most ``number`` of them from ``start`` on."""
        return HostRows(self._rows[start : start + number], self._gpu)

    def queue(self, stream: cuda.Stream, target: int) -> None:
        """Queue their upload, and the copy."""
        sent = self._gpu.uploads.send(self._rows)
        self._sent.append(sent)
        stream.wait(sent.arrived)
        stream.copy(sent.pointers[0], target, self._rows.nbytes)


def crop(pixels: Pixels | GpuFrame, boxes: Sequence[Box], contract: Contract) -> Pixels | Crops:
    """The square around each box, as a batch of faces, made where the frame is.

    As :func:`fer_edge.pixels.crops.crop_faces`; nothing is left of a GPU where there are no boxes.
    """
    if isinstance(pixels, GpuFrame):
        if boxes:
            return pixels.crops(boxes, contract)
        return np.empty((0, *contract.crop_shape), np.uint8)
    return crop_faces(pixels, boxes, contract)


def joined(batches: Sequence[Pixels | Crops]) -> Pixels | OnGpu:
    """One batch of several, on the GPU where one of them is there."""
    crops = [batch for batch in batches if isinstance(batch, Crops)]
    if not crops:
        return np.concatenate([batch for batch in batches if not isinstance(batch, Crops)])
    gpu = crops[0].frame.gpu
    return Joined([one if isinstance(one, Crops) else HostRows(one, gpu) for one in batches])
