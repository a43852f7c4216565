import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

tkinter = pytest.importorskip("tkinter", reason="this Python has no Tk")

from examples.window import Watcher, Window  # noqa: E402
from fer_edge.runtime.capture import Source, camera  # noqa: E402
from tests.runtime.capture.fakes import FakeDevice, wait_until  # noqa: E402

from .conftest import FRAME, assert_ctrl_c_ends, see_two  # noqa: E402

KEPT: list[Window] = []
"""Garbage collection in the thread of a later test must not free them: Tk aborts."""

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "PATIENCE", 0.05)


@pytest.fixture
def shown(display: str) -> Iterator[Callable[[object], Window]]:
    """Open windows; they are closed at the end."""
    del display
    windows: list[Window] = []

    def show(source: object) -> Window:
        windows.append(Window(source))
        return windows[-1]

    yield show
    for window in windows:
        with contextlib.suppress(tkinter.TclError):  # the test has closed it
            window.close()
        ended(window.watcher)
    KEPT.extend(windows)


def update_until(window: Window, holds: Callable[[], bool]) -> None:
    def updated() -> bool:
        window.update()
        return holds()

    wait_until(updated, seconds=20)


def ended(watcher: Watcher) -> None:
    watcher._thread.join(20)
    assert not watcher._thread.is_alive()


def kinds(window: Window) -> list[str]:
    return [window.canvas.type(item) for item in window.canvas.find_all()]


def test_the_picture_and_its_faces(shown: Callable, detect: Callable) -> None:
    detect(see_two)
    window = shown([FRAME])
    update_until(window, lambda: "faces" in window.status["text"])
    assert kinds(window) == ["image", *["rectangle", "text"] * 2]
    scale = min(window.canvas.winfo_width() / 160, window.canvas.winfo_height() / 120)
    assert window.photo.width() == pytest.approx(160 * scale, abs=1)
    left = window.canvas.coords(window.canvas.find_all()[1])[0]
    assert left == pytest.approx(5 * scale, abs=1)
    ended(window.watcher)
    update_until(window, lambda: window.status["text"].startswith("closed: 2 faces"))


def test_the_window_lives_while_the_detector_is_stuck(shown: Callable, detect: Callable) -> None:
    go = threading.Event()

    def stuck(image: np.ndarray) -> list:
        go.wait(20)
        return see_two(image)

    detect(stuck)
    window = shown([FRAME] * 3)
    polls = []
    poll = window.watcher.take
    window.watcher.take = lambda: polls.append(poll())
    update_until(window, lambda: len(polls) > 5 and window.watcher.state == "running")
    assert polls == [None] * len(polls)
    go.set()
    ended(window.watcher)


def test_a_camera_that_is_not_there_is_said_in_the_window(shown: Callable) -> None:
    window = shown("nowhere.mp4")
    update_until(window, lambda: "no file nowhere.mp4" in window.status["text"])
    ended(window.watcher)


def test_only_the_newest_moment_is_handed_over(detect: Callable) -> None:
    detect(see_two)
    watcher = Watcher([FRAME] * 30)
    ended(watcher)
    moment = watcher.take()
    assert moment is not None
    assert moment.frame.index == 29
    assert watcher.take() is None


def test_closing_ends_the_thread_though_the_camera_is_silent(
    shown: Callable, detect: Callable
) -> None:
    detect(see_two)
    device = FakeDevice()
    window = shown(device.source())
    device.send(FRAME)
    update_until(window, lambda: "running: 2 faces" in window.status["text"])
    window.close()
    ended(window.watcher)
    device.present = False
    wait_until(lambda: device.closed == 1)


def test_closing_does_not_wait_for_a_camera_that_is_being_opened(
    shown: Callable, detect: Callable
) -> None:
    detect(see_two)
    device = FakeDevice()
    go = threading.Event()

    def slow() -> FakeDevice:
        go.wait(20)
        return device._open()

    window = shown(Source("slow", True, slow))
    update_until(window, lambda: window.status["text"] == "opening")
    started = time.monotonic()
    window.close()
    assert time.monotonic() - started < 10
    device.send(FRAME)
    go.set()
    ended(window.watcher)
    assert window.watcher.take() is None
    device.present = False
    wait_until(lambda: device.closed == 1)


def test_ctrl_c_closes_the_window(display: str) -> None:
    del display
    pytest.importorskip("retinaface", reason="needs the extra camera")
    program = """
import signal, sys, numpy
signal.signal(signal.SIGINT, signal.default_int_handler)
from examples import window

def frames():
    while True:
        yield numpy.zeros((90, 120, 3), numpy.uint8)

class Telling(window.Window):
    def show(self, moment):
        super().show(moment)
        print("shown", flush=True)

window.Window = Telling
window.main(frames())
print("stopped", flush=True)
"""
    assert_ctrl_c_ends(program, after="shown")


def test_real_faces(shown: Callable, real_photo: np.ndarray) -> None:
    window = shown([real_photo])
    update_until(window, lambda: "faces" in window.status["text"])
    assert kinds(window).count("rectangle") >= 3
