import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from fer_edge.errors import CaptureError
from fer_edge.runtime.capture import find_source, opencv


class FakeCv2:
    """An OpenCV whose cameras all have what they are asked for, and which notes it."""

    CAP_ANY, CAP_V4L2 = 0, 200
    CAP_PROP_BUFFERSIZE = "buffers"
    CAP_PROP_FOURCC, CAP_PROP_FRAME_WIDTH = "fourcc", "width"
    CAP_PROP_FRAME_HEIGHT, CAP_PROP_FPS = "height", "fps"

    def __init__(self, version: int = 5, backends: tuple[int, ...] = (200,)) -> None:
        self.level = 3
        self.levels: list[int] = []
        self.opened: list[tuple[Any, ...]] = []
        self.wishes: dict[str, Any] = {}
        self.present = True
        self.utils = SimpleNamespace()
        self.VideoWriter = SimpleNamespace(fourcc=lambda *letters: "".join(letters))
        where = self if version == 4 else SimpleNamespace()
        where.setLogLevel = self._set_level
        if version == 5:
            self.utils.logging = where
        self.videoio_registry = SimpleNamespace(hasBackend=lambda one: one in backends)

    def _set_level(self, level: int) -> int:
        before, self.level = self.level, level
        return before

    def VideoCapture(self, *what: Any) -> SimpleNamespace:  # noqa: N802, its name
        self.opened.append(what)
        self.levels.append(self.level)
        return SimpleNamespace(
            isOpened=lambda: self.present,
            set=lambda name, value: self.wishes.update({name: value}),
            release=lambda: None,
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCv2:
    found = FakeCv2()
    monkeypatch.setattr(opencv, "load_cv2", lambda _: found)
    return found


@pytest.mark.parametrize("version", [4, 5])
def test_failures_are_told_once_by_every_version(
    monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    fake = FakeCv2(version)
    fake.present = False
    monkeypatch.setattr(opencv, "load_cv2", lambda _: fake)
    with pytest.raises(CaptureError, match="Camera 0 cannot be opened"):
        opencv.open_device(0)
    assert (fake.levels, fake.level) == ([0], 3)


def test_what_opens_at_the_same_time_leaves_opencv_as_talkative_as_before() -> None:
    fake = FakeCv2()
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(opencv._quiet(fake))
        second.enter_context(opencv._quiet(fake))
        first.close()
        assert fake.level == 0
    assert fake.level == 3


def test_a_camera_is_asked_for_a_size_and_a_rate(fake: FakeCv2) -> None:
    find_source("/dev/video1", size=(1280, 720), fps=30).open()
    assert fake.opened == [("/dev/video1", fake.CAP_V4L2)]
    assert fake.wishes == {"buffers": 1, "fourcc": "MJPG", "width": 1280, "height": 720, "fps": 30}


def test_a_small_picture_may_stay_uncompressed(fake: FakeCv2) -> None:
    find_source(0, size=(640, 480)).open()
    assert fake.wishes == {"buffers": 1, "width": 640, "height": 480}


def test_where_there_is_no_v4l2_opencv_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCv2(backends=())
    monkeypatch.setattr(opencv, "load_cv2", lambda _: fake)
    find_source(0).open()
    assert fake.opened == [(0, fake.CAP_ANY)]
