"""Detectors and executors that do as they are told, also in other processes."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from fer_edge.archive.tasks import Crashed, Outcome, Settings, Task
from fer_edge.archive.work import do_task
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture import Camera
from fer_edge.runtime.detection import Detection

DEADLY = (255, 0, 0)
"""RGB of photos that end the process which looks at them."""


class Finder:
    """Finds one face in each frame, after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, image: np.ndarray) -> list[Detection]:
        if tuple(image[0, 0]) == DEADLY[::-1]:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self._seconds)
        return [Detection(Box(8, 6, 32, 32), 0.9)]


@dataclass(frozen=True)
class Finding:
    """Makes detectors, and equals itself in other processes."""

    seconds: float = 0.0

    def __call__(self) -> Finder:
        return Finder(self.seconds)


class Inline:
    """Does tasks in this process, one when waited for."""

    name = "inline"

    def __init__(self, crashes: Callable[[Task], bool] = lambda _: False, slots: int = 2) -> None:
        self.slots = slots
        self._crashes = crashes
        self._tasks: deque[Task] = deque()
        self.done: list[Task] = []
        self.closed = False

    @property
    def room(self) -> bool:
        return len(self._tasks) < self.slots

    def start(self, settings: Settings) -> None:
        self._settings = settings

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def wait(self) -> list[tuple[Task, Outcome]]:
        task = self._tasks.popleft()
        self.done.append(task)
        crashed = self._crashes(task)
        return [(task, Crashed("signal 9") if crashed else do_task(self._settings, task))]

    def close(self) -> None:
        self.closed = True


def write_photos(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Photos of noise, each of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{n:04d}.png" for n in range(first, first + count)]
    for n, path in enumerate(paths, first):
        pixels = np.random.default_rng(n).integers(0, 250, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def write_deadly(path: Path) -> Path:
    """A photo that ends the process."""
    Image.new("RGB", (64, 48), DEADLY).save(path)
    return path


def write_video(
    path: Path, codec: str = "libx264", frames: int = 100, rate: int = 20, **options: str
) -> Path:
    """A video with a key frame at least every 15 frames."""
    pixels = np.random.default_rng(0).integers(0, 250, (48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 15
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels, n, axis=1), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frames_of(path: Path) -> list[tuple[int, float | None, np.ndarray]]:
    """Number, position and pixels of all frames of a recording."""
    with Camera(path) as camera:
        found = [(frame.index, frame.position, frame.image) for frame in camera]
        assert camera.error is None
    return found
