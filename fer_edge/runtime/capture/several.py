"""Frames of several cameras in one loop."""

import threading
from collections.abc import Iterator, Sequence

from fer_edge.runtime.capture.base import Frame, State
from fer_edge.runtime.capture.camera import Camera

_LOOK_AGAIN = 0.5
"""Seconds after which a silent camera is looked at without being told to."""


def frames_of(cameras: Sequence[Camera]) -> Iterator[tuple[Camera, Frame]]:
    """Yield the newest frame of each camera in turn, until all are at their end.

    A camera that has none is passed over; where none has any, the first to get one is waited for.
    """
    news = threading.Event()
    open_cameras = list(cameras)
    for camera in open_cameras:
        camera.listeners.append(news.set)
    try:
        while open_cameras:
            news.clear()
            got_one = False
            for camera in list(open_cameras):
                ended = camera.state is State.CLOSED
                frame = camera.read(timeout=0)
                if frame is not None:
                    got_one = True
                    yield camera, frame
                elif ended or not camera.live:
                    open_cameras.remove(camera)
            if open_cameras and not got_one:
                news.wait(_LOOK_AGAIN)
    finally:
        for camera in cameras:
            camera.listeners.remove(news.set)
