"""What the kernel of fer_edge/engines/cuda does, in numpy; a test compares it with the source."""

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from fer_edge.engines.frames import _JOB
from fer_edge.engines.picking import _ROW

Memory = Callable[[int, int], memoryview]
"""From an address and a number of bytes."""


def resample(
    memory: Memory,
    sizes: Sequence[int],
    jobs: int,
    tables: int,
    out: int,
    width: int,
    height: int,
    channels: int,
    planar: int,
    margin: int,
) -> None:
    """Each thread of a launch in one."""
    assert sizes[0] * sizes[3] >= width, "columns that no thread makes"
    assert sizes[1] * sizes[4] >= height, "rows that no thread makes"
    assert sizes[5] == 1
    told = np.frombuffer(memory(jobs, sizes[2] * _JOB.itemsize), _JOB)
    outside = [margin >> 8 * channel & 255 for channel in range(channels)]
    for index, job in enumerate(told):
        row = np.empty((height, width, channels), np.uint8)
        row[:] = outside
        made = _piece(memory, tables, job, channels)
        row[: job["out_height"], : job["out_width"]] = made
        raw = (row.transpose(2, 0, 1) if planar else row).tobytes()
        memory(out + index * len(raw), len(raw))[:] = raw


def _piece(memory: Memory, tables: int, job: np.void, channels: int) -> np.ndarray:
    height, width, depth = int(job["height"]), int(job["width"]), int(job["channels"])
    rows = [
        memory(int(job["pixels"]) + y * int(job["pitch"]), width * depth) for y in range(height)
    ]
    frame = np.stack([np.frombuffer(row, np.uint8) for row in rows]).reshape(height, width, depth)
    if job["turned"]:
        frame = frame[..., ::-1]
    frame = frame.astype(np.int64)
    if depth == 3 and channels == 1:
        frame = (frame @ [19595, 38470, 7471] + 0x8000 >> 16)[..., None]
    across, down = (
        np.frombuffer(
            memory(tables + 4 * int(job[way]), 4 * int(job[size]) * (int(job[f"{way}_taps"]) + 1)),
            np.int32,
        ).reshape(-1, job[f"{way}_taps"] + 1)
        for way, size in (("across", "out_width"), ("down", "out_height"))
    )
    made = _weighed(frame.swapaxes(0, 1), across, int(job["left"])).swapaxes(0, 1)
    return _weighed(made, down, int(job["top"]))


def _weighed(lines: np.ndarray, table: np.ndarray, first: int) -> np.ndarray:
    at = (first + table[:, :1] + np.arange(table.shape[1] - 1)).clip(0, len(lines) - 1)
    sums = sum(
        weights[:, None, None] * lines[taken]
        for weights, taken in zip(table[:, 1:].T.astype(np.int64), at.T, strict=True)
    )
    sums = sums + (1 << 21)
    assert np.abs(sums).max() < 1 << 31, "more than the kernel's integers hold"
    return (sums >> 22).clip(0, 255)


def candidates(
    memory: Memory,
    sizes: Sequence[int],
    scores: int,
    boxes: int,
    landmarks: int,
    anchors: int,
    least: float,
    number: int,
    found: int,
) -> None:
    """Each thread of a launch, in some order or other."""
    assert sizes[0] * sizes[3] >= anchors, "anchors that no thread looks at"
    assert (*sizes[1:3], *sizes[4:]) == (1, 1, 1, 1)
    told = np.frombuffer(memory(scores, 4 * anchors), np.float32)
    places = np.flatnonzero(~(told < np.float32(least)))[::-1]
    rows = np.zeros(len(places), _ROW)
    rows["place"], rows["score"] = places, told[places]
    for name, address, width in (("box", boxes, 4), ("landmarks", landmarks, 10)):
        every = np.frombuffer(memory(address, 4 * width * anchors), np.float32)
        rows[name] = every.reshape(-1, width)[places]
    count = np.frombuffer(memory(number, 4), np.int32)
    memory(found + int(count[0]) * _ROW.itemsize, rows.nbytes)[:] = rows.tobytes()
    memory(number, 4)[:] = (count + np.int32(len(places))).tobytes()


KERNELS = {
    b"resample": (
        resample, (*[ctypes.c_uint64] * 3, *[ctypes.c_int32] * 4, ctypes.c_uint32)
    ),
    b"candidates": (
        candidates,
        (*[ctypes.c_uint64] * 3, ctypes.c_int32, ctypes.c_float, *[ctypes.c_uint64] * 2),
    ),
}  # fmt: skip
"""What each does, and the types of what it takes."""
