"""OpenCV's reader of recordings beside PyAV's, which the runtime uses.

Decoding speed of a 720p H.264 file (interleaved, median of the rounds), and what each makes of
files whose times, size, turn or end are not plain. Where ``--main`` names a checkout of another
version, ``fer-edge analyze`` of both is timed in turn on the same file.
"""

import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from recording import RESULTS, record, table

from fer_edge.errors import CaptureError
from fer_edge.runtime import Camera

Read = Callable[[Path], tuple[list[tuple[int, ...]], list[float | None], bool]]
"""Shapes, times in seconds, and whether the reader tells that something is wrong."""


def write(path: Path, form: str, codec: str, times: list[float], size: tuple[int, int]) -> Path:
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 256, (90, 160, 3), np.uint8), (size[0] + 200, size[1]))
    options = {"movflags": "faststart"} if form == "mp4" else {}
    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=30, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        for n, seconds in enumerate(times):
            part = np.ascontiguousarray(wide[:, n % 200 : n % 200 + size[0]])
            frame = av.VideoFrame.from_ndarray(part, format="bgr24")
            frame.pts, frame.time_base = round(30 * seconds), Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def by_opencv(path: Path) -> Any:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    shapes, times = [], []
    while (found := capture.read())[0]:
        shapes.append(found[1].shape)
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
    return shapes, times, not shapes


def by_runtime(path: Path) -> Any:
    shapes, times = [], []
    try:
        with Camera(path) as camera:
            for frame in camera:
                shapes.append(frame.image.shape)
                times.append(frame.position)
        return shapes, times, camera.error is not None
    except CaptureError:
        return shapes, times, True


_MINUTE = [n / 30 for n in range(1800)]
READERS: dict[str, Read] = {"OpenCV": by_opencv, "PyAV": by_runtime}


def judge(found: Any, times: list[float] | None, shape: tuple[int, ...], broken: bool) -> str:
    shapes, told, complains = found
    faults = []
    if times is not None and (
        len(told) != len(times) or np.abs(np.array(told) - np.array(times)).max() > 0.05
    ):
        span = f"{told[0]:.2f} to {told[-1]:.2f} s" if told else "none"
        faults.append(f"{len(told)} frames, times {span}")
    if shapes and shapes[-1] != shape:
        faults.append(f"size {shapes[-1][1]}x{shapes[-1][0]}")
    if complains != broken:
        faults.append("silent" if broken else "complains")
    return "; ".join(faults) or "right"


def cases(folder: Path) -> dict[str, tuple[Path, list[float] | None, tuple[int, ...], bool]]:
    size, shape = (320, 240), (240, 320, 3)
    even = [n / 30 for n in range(90)]
    uneven = [0.0, 0.1, 0.5, 3.0, 3.1, 9.0, 9.1]
    ts = write(folder / "a.ts", "mpegts", "libx264", even, size)
    joined = folder / "joined.ts"
    joined.write_bytes(2 * ts.read_bytes())
    turned = write(folder / "turned.mp4", "mp4", "libx264", even, size)
    data = bytearray(turned.read_bytes())
    at = data.index(b"tkhd") + 44
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    turned.write_bytes(data)
    found = {
        "variable rate (mp4)": (
            write(folder / "v.mp4", "mp4", "libx264", uneven, size),
            uneven,
            shape,
            False,
        ),
        "variable rate (mkv)": (
            write(folder / "v.mkv", "matroska", "libx264", uneven, size),
            uneven,
            shape,
            False,
        ),
        "raw H.264": (
            write(folder / "a.h264", "h264", "libx264", even, size),
            even,
            shape,
            False,
        ),
        "raw H.265": (
            write(folder / "a.h265", "hevc", "libx265", even, size),
            even,
            shape,
            False,
        ),
        "joined (ts)": (joined, [n / 30 for n in range(180)], shape, False),
        "turned by metadata": (turned, even, (320, 240, 3), False),
    }
    for ending, form, codec in (
        ("mp4", "mp4", "libx264"),
        ("mkv", "matroska", "libx264"),
        ("avi", "avi", "mpeg4"),
    ):
        cut = write(folder / f"cut.{ending}", form, codec, even, size)
        cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
        found[f"cut in half ({ending})"] = (cut, None, shape, True)
    return found


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--main", type=Path, help="checkout to time `fer-edge analyze` of, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = folder / "film.mp4"
        write(film, "mp4", "libx264", [n / 30 for n in range(240)], (1280, 720))
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in READERS}
        for _ in range(options.rounds):
            for name, read in READERS.items():
                spent[name].append(seconds(lambda read=read: read(film)))
        result: dict[str, Any] = {
            "frames_per_second_720p": {
                name: round(240 / statistics.median(wall for wall, _ in times), 1)
                for name, times in spent.items()
            },
            "cpu_ms_per_frame_720p": {
                name: round(1e3 * statistics.median(cpu for _, cpu in times) / 240, 2)
                for name, times in spent.items()
            },
            "cases": {
                case: {name: judge(read(path), *right) for name, read in READERS.items()}
                for case, (path, *right) in cases(folder).items()
            },
        }
        if options.main is not None:
            here = Path(__file__).parents[1]
            # A minute: start-up takes a tenth of it.
            film = write(folder / "minute.mp4", "mp4", "libx264", _MINUTE, (1280, 720))
            took: dict[str, list[float]] = {"before": [], "now": []}
            for _ in range(5):
                for which, code in (("before", options.main), ("now", here)):
                    command = [sys.executable, "-m", "fer_edge", "analyze", str(film)]
                    command += ["--out", str(folder / "t.csv"), "--detect-every", "3"]
                    environment = os.environ | {"PYTHONPATH": str(code)}
                    wall, _ = seconds(
                        lambda c=command, e=environment: subprocess.run(
                            c, env=e, cwd=folder, check=True, capture_output=True
                        )
                    )
                    took[which].append(round(wall, 2))
            result["analyze_seconds_of_1800_frames"] = took
    record(options.out / "readers.json", result)
    rows = [[case, *told.values()] for case, told in result["cases"].items()]
    for what in ("frames_per_second_720p", "cpu_ms_per_frame_720p"):
        rows += [[what.replace("_", " "), *map(str, result[what].values())]]
    print(table(["recording", *READERS], rows))
    print(result.get("analyze_seconds_of_1800_frames", ""))


if __name__ == "__main__":
    main()
