import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import MissingDependencyError, OutputError
from fer_edge.runtime.capture import Camera, State
from fer_edge.runtime.sinks import Window
from fer_edge.runtime.sinks import window as module
from fer_edge.runtime.sinks.window import check_window
from tests.moments import moment, seen


class FakeCv2:
    """Windows that only remember."""

    WINDOW_NORMAL, WINDOW_KEEPRATIO, WINDOW_GUI_NORMAL, WND_PROP_VISIBLE = 0, 0, 16, 4

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []
        self.size: tuple[int, int] | None = None
        self.key = -1
        self.visible = True
        self.destroyed = 0

    def namedWindow(self, _name: str, _look: int) -> None:  # noqa: N802
        assert self.size is None

    def resizeWindow(self, _name: str, *size: int) -> None:  # noqa: N802
        self.size = size

    def imshow(self, _name: str, picture: np.ndarray) -> None:
        self.shown.append(picture)

    def waitKey(self, _milliseconds: int) -> int:  # noqa: N802
        return self.key

    def getWindowProperty(self, _name: str, _what: int) -> float:  # noqa: N802
        return float(self.visible)

    def destroyWindow(self, _name: str) -> None:  # noqa: N802
        self.destroyed += 1


class FakeCamera:
    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.RUNNING


@pytest.fixture
def cv2(monkeypatch: pytest.MonkeyPatch) -> FakeCv2:
    fake = FakeCv2()
    monkeypatch.setattr(module, "load_cv2", lambda _: fake)
    monkeypatch.setattr(module, "check_window", lambda: None)
    return fake


@pytest.fixture
def fresh() -> Iterator[None]:
    check_window.cache_clear()
    yield
    check_window.cache_clear()


def test_the_newest_moment_is_shown_once(cv2: FakeCv2) -> None:
    window = Window([FakeCamera("door")])
    assert window.refresh()
    window.show(moment(index=0))
    window.show(moment(seen(), index=1))
    for _ in range(3):
        assert window.refresh()
    waiting, shown = cv2.shown
    assert waiting.shape == shown.shape == (480, 640, 3)
    assert cv2.size == (640, 480)
    window.close()
    window.close()
    assert cv2.destroyed == 1


def test_a_state_is_shown_without_new_moments(cv2: FakeCv2) -> None:
    camera = FakeCamera("door")
    window = Window([camera])
    window.show(moment())
    window.refresh()
    camera.state = State.LOST
    window.refresh()
    well, lost = cv2.shown
    assert (well != lost).any()


def test_several_cameras_share_a_window(cv2: FakeCv2) -> None:
    window = Window([FakeCamera("a"), FakeCamera("b")])
    window.show(moment(source="b"))
    window.refresh()
    (picture,) = cv2.shown
    assert picture.shape == (1080, 1920, 3)
    assert cv2.size == (1280, 720)
    left, right = picture[540, 480], picture[540, 1440]
    assert (left.max(), right.max()) == (0, 90)


@pytest.mark.parametrize("key", ["q", "Q", "\x1b"])
def test_keys_that_close(cv2: FakeCv2, key: str) -> None:
    window = Window([FakeCamera("door")])
    cv2.key = ord("x")
    assert window.refresh()
    cv2.key = ord(key)
    assert not window.refresh()


def test_the_closed_window_says_so(cv2: FakeCv2) -> None:
    window = Window([FakeCamera("door")])
    assert window.refresh()
    cv2.visible = False
    assert not window.refresh()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
@pytest.mark.parametrize("display", [None, ":4711"])
@pytest.mark.usefixtures("fresh")
def test_no_display_is_an_error_not_the_end(
    monkeypatch: pytest.MonkeyPatch, display: str | None
) -> None:
    pytest.importorskip("cv2")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(OutputError, match="OpenCV cannot open a window here") as error:
        Window([])
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("fresh")
def test_opencv_without_windows_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "cv2.py").write_text(
        "def namedWindow(_):\n    raise RuntimeError('The function is not implemented.')\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(OutputError, match="it is opencv-python-headless"):
        check_window()


@pytest.mark.usefixtures("fresh")
def test_no_opencv_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[camera\]'"):
        Window([])


def test_a_camera_of_ours_is_one(cv2: FakeCv2) -> None:
    with Camera([np.zeros((4, 6, 3), np.uint8)], name="frames") as camera:
        window = Window([camera])
        window.refresh()
    window.refresh()
    assert len(cv2.shown) == 2
