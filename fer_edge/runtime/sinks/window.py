"""Moments in a window of OpenCV."""

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Sequence

from fer_edge.errors import OutputError
from fer_edge.runtime.capture import Camera, State
from fer_edge.runtime.capture.base import Image
from fer_edge.runtime.capture.opencv import load_cv2
from fer_edge.runtime.grid import grid
from fer_edge.runtime.meter import Meter
from fer_edge.runtime.moment import Moment, blank_frame
from fer_edge.runtime.overlay import draw_overlay

_LARGEST = (1280, 720)
"""A new window is no larger; its user may make it so."""
_KEYS = (ord("q"), ord("Q"), 27)
_WAIT = 15
"""Milliseconds for the window's events, and so between two looks for something new."""


class Window:
    """Shows the newest moment of each camera, several of them as a grid.

    Moments may come from any thread; all else is the main thread's, as window systems want it.

    Parameters
    ----------
    cameras : sequence of Camera
        With different names.
    title : str

    Raises
    ------
    MissingDependencyError
        OpenCV is not installed.
    OutputError
        There is no display, or OpenCV was built without windows.
    """

    def __init__(self, cameras: Sequence[Camera], *, title: str = "FER-Edge") -> None:
        check_window()
        self._cv2 = load_cv2("Windows need")
        self._cameras = cameras
        self._title = title
        self._meters = {camera.name: Meter() for camera in cameras}
        self._newest: dict[str, Moment] = {}
        self._lock = threading.Lock()
        self._shown: list[tuple[Moment | None, State]] = []
        self._open = False

    def show(self, moment: Moment) -> None:
        with self._lock:
            self._meters[moment.frame.source].add(moment)
            self._newest[moment.frame.source] = moment

    def refresh(self) -> bool:
        """Draw what is new and take the window's events for some milliseconds.

        Returns
        -------
        bool
            False once the user has closed the window, or pressed q or Esc.
        """
        with self._lock:
            seen = [
                (self._newest.get(c.name), self._meters[c.name].fps, c.state) for c in self._cameras
            ]
        news = [(moment, state) for moment, _, state in seen]
        if news != self._shown:
            self._draw(
                grid(
                    [
                        draw_overlay(moment or _nothing_yet(camera), fps=fps, state=state)
                        for camera, (moment, fps, state) in zip(self._cameras, seen, strict=True)
                    ]
                )
            )
            self._shown = news
        key = self._cv2.waitKey(_WAIT) & 0xFF
        visible = self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) >= 1
        return key not in _KEYS and visible

    def close(self) -> None:
        if self._open:
            self._open = False
            self._cv2.destroyWindow(self._title)
            # The window goes when its events are taken.
            self._cv2.waitKey(1)

    def _draw(self, picture: Image) -> None:
        if not self._open:
            cv2 = self._cv2
            look = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
            cv2.namedWindow(self._title, look)
            height, width = picture.shape[:2]
            scale = min(_LARGEST[0] / width, _LARGEST[1] / height, 1)
            cv2.resizeWindow(self._title, round(width * scale), round(height * scale))
            self._open = True
        self._cv2.imshow(self._title, picture)


@functools.cache
def check_window() -> None:
    """Raise what :class:`Window` would, before cameras are opened.

    Qt ends the program where it finds no display, so that a process of its own has to try.
    """
    load_cv2("Windows need")
    # Qt misses fonts that these windows do not show.
    os.environ.setdefault("QT_LOGGING_RULES", "default.warning=false")
    command = [sys.executable, "-c", "import cv2; cv2.namedWindow('FER-Edge'); cv2.waitKey(1)"]
    tried = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if tried.returncode:
        said = tried.stderr.strip().splitlines() or ["no reason was given"]
        raise OutputError(f"OpenCV cannot open a window here ({_reason(said)}).")


def _reason(said: Sequence[str]) -> str:
    headless = any("not implemented" in line for line in said)
    return "it is opencv-python-headless" if headless else said[0].strip().rstrip(".")


def _nothing_yet(camera: Camera) -> Moment:
    return Moment(blank_frame(camera.name, 0.0), [], 0.0)
