import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from fer_edge.errors import CaptureError, InputError, MissingDependencyError
from fer_edge.runtime.capture import Camera, Source, State, camera

from .fakes import FakeDevice, image, wait_until


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(camera, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(camera, "PATIENCE", 0.05)


def test_a_recording_gives_every_frame_in_order() -> None:
    with Camera([image(0), image(1), image(2)]) as frames:
        seen = list(frames)
        assert frames.state is State.CLOSED
    assert [frame.index for frame in seen] == [0, 1, 2]
    assert [frame.image[0, 0, 0] for frame in seen] == [0, 1, 2]
    assert frames.dropped == 0


def test_only_the_newest_live_frame_is_kept_and_the_others_are_counted(device: FakeDevice) -> None:
    with Camera(device.source()) as live:
        device.send(*map(image, range(5)))
        wait_until(lambda: live.dropped == 4)
        frame = live.read(timeout=5)
        assert frame is not None
        assert (frame.index, frame.image[0, 0, 0]) == (4, 4)
        assert live.read(timeout=0.01) is None, "a frame is given once"
        device.send(image(9))
        newer = live.read(timeout=5)
    assert newer is not None
    assert (newer.index, live.dropped) == (5, 4)


def test_a_frame_knows_when_it_was_captured(device: FakeDevice) -> None:
    with Camera(device.source(), name="door") as live:
        before = time.monotonic()
        device.send(image(0))
        frame = live.read(timeout=5)
    assert frame is not None
    assert before <= frame.captured <= time.monotonic()
    assert (frame.source, frame.position) == ("door", None)


def test_a_camera_that_was_unplugged_and_comes_back(device: FakeDevice) -> None:
    with Camera(device.source()) as live:
        device.send(image(0))
        wait_until(lambda: live.state is State.RUNNING and live._newest is not None)
        device.present = False
        wait_until(lambda: live.state is State.LOST)
        assert isinstance(live.error, CaptureError)
        assert live.read(timeout=0.05) is None, "a frame from before the gap is no news"
        assert live.dropped == 1
        device.present = True
        device.send(image(1))
        frame = live.read(timeout=5)
        assert frame is not None
        assert (frame.index, live.reconnects, live.error) == (1, 1, None)
        assert live.state is State.RUNNING
    device.present = False
    wait_until(lambda: device.opened == device.closed == 2)


def test_a_driver_that_raises_does_not_end_the_program(device: FakeDevice) -> None:
    with Camera(device.source()) as live:
        device.send(OSError("bus reset"), image(1))
        frame = live.read(timeout=5)
    assert frame is not None
    assert live.reconnects == 1


def test_pauses_between_attempts_grow(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "LONGEST_PAUSE", 0.04)
    pauses: list[float] = []
    with Camera(device.source()) as live:
        wait = live._closing.wait
        monkeypatch.setattr(
            live._closing, "wait", lambda pause: (pauses.append(pause), wait(pause))[1]
        )
        device.present = False
        wait_until(lambda: len(pauses) >= 4)
    assert pauses[:4] == [0.01, 0.02, 0.04, 0.04]


def test_without_reconnect_a_lost_source_is_at_its_end(device: FakeDevice) -> None:
    with Camera(device.source(), reconnect=False) as live:
        device.send(None)
        assert list(live) == []
        wait_until(lambda: live.state is State.CLOSED)
        assert "sends no more frames" in str(live.error)


def test_silence_is_named(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "STALLED_AFTER", 0.05)
    with Camera(device.source()) as live:
        device.send(image(0))
        assert live.read(timeout=5) is not None
        assert live.state is State.RUNNING
        wait_until(lambda: live.state is State.STALLED)
        device.send(image(1))
        wait_until(lambda: live.state is State.RUNNING)


def test_closing_ends_an_iteration_in_another_thread(device: FakeDevice) -> None:
    live = Camera(device.source())
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(f.index for f in live))
    reader.start()
    device.send(image(0))
    wait_until(lambda: seen == [0])
    live.close()
    live.close()
    reader.join(5)
    assert not reader.is_alive()
    device.present = False
    wait_until(lambda: device.closed == 1)


def test_a_consumer_that_stops_leaves_no_thread(device: FakeDevice) -> None:
    before = threading.active_count()
    with Camera(device.source()) as live:
        device.send(image(0), image(1))
        for _ in live:
            break
        device.present = False
    wait_until(lambda: threading.active_count() == before)


def test_a_generator_is_closed_with_its_camera() -> None:
    closed = threading.Event()

    def frames() -> Iterator[np.ndarray]:
        try:
            while True:
                yield image(0)
        finally:
            closed.set()

    with Camera(frames()) as endless:
        assert next(iter(endless)).index == 0
    assert closed.is_set()
    assert endless.read() is None


def test_a_source_that_cannot_be_opened_says_so_at_once(device: FakeDevice) -> None:
    device.present = False
    with pytest.raises(CaptureError, match="cannot be opened"):
        Camera(device.source())


def test_an_opening_that_hangs_is_given_up(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "LONGEST_OPENING", 0.05)
    device.hangs.set()
    with pytest.raises(CaptureError, match="fake has not opened within"):
        Camera(device.source())
    device.hangs.clear()
    wait_until(lambda: device.closed == device.opened == 1)


@pytest.mark.parametrize("seen", ["opening", "reading"])
def test_ctrl_c_interrupts_a_camera_that_hangs(seen: str) -> None:
    """The signal goes to the camera's thread: the main thread's wait is not cut short by it, as
    it is not by one that comes just before."""
    program = f"""
import signal, threading, time
from fer_edge.runtime.capture import Camera, Source, camera
camera.PATIENCE = camera.LAST_PATIENCE = 0.1
def hang():
    time.sleep(0.3)
    print("waiting", flush=True)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    time.sleep(60)
class Silent:
    def read(self):
        hang()
    def close(self):
        pass
Camera(Source("fake", True, hang if "{seen}" == "opening" else Silent)).read()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=12
    )
    assert ended.stdout == "waiting\n"
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr.strip().endswith("KeyboardInterrupt")


def test_a_camera_that_is_not_there_yet_is_waited_for(device: FakeDevice) -> None:
    device.present = False
    with Camera(device.source(), wait=True, reconnect=False) as live:
        wait_until(lambda: live.error is not None)
        assert live.state is State.OPENING
        assert repr(live) == "<Camera 'fake', opening>"
        assert live.read(timeout=0.02) is None
        device.present = True
        device.send(image(1))
        frame = live.read(timeout=5)
        assert frame is not None
        assert (frame.index, live.state, live.error) == (0, State.RUNNING, None)
        assert live.reconnects == 0
        device.present = False
        assert live.read() is None
        assert live.state is State.CLOSED


def test_what_waiting_does_not_mend_is_raised_to_who_reads() -> None:
    def open_it() -> None:
        raise MissingDependencyError("no OpenCV")

    source = Source("fake", True, open_it)
    with pytest.raises(MissingDependencyError):
        Camera(source)
    with Camera(source, wait=True) as live:
        with pytest.raises(MissingDependencyError):
            live.read(timeout=5)
        assert live.state is State.CLOSED
        assert isinstance(live.error, MissingDependencyError)
        assert list(live) == []


def test_a_listener_that_raises_is_told_of_and_harms_nobody(
    device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    with Camera(device.source()) as live:
        called = threading.Event()
        live.listeners += [lambda: 1 / 0, called.set]
        device.send(image(0))
        assert live.read(timeout=5) is not None
        assert called.wait(5)
        assert (live.state, live.reconnects) == (State.RUNNING, 0)
    device.present = False
    wait_until(lambda: device.closed == device.opened == 1)
    assert "A listener of fake failed." in caplog.text


def test_a_listener_that_raises_does_not_keep_a_recording_open() -> None:
    closed = threading.Event()

    def frames() -> Iterator[np.ndarray]:
        try:
            yield image(0)
        finally:
            closed.set()

    recording = Camera(frames())
    recording.listeners.append(lambda: 1 / 0)
    assert recording.read() is not None
    recording.close()
    assert closed.is_set()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((4, 6, 3)), "frames: frame 1 must be uint8, got float64"),
        (np.zeros((4, 6, 4), np.uint8), "frame 1 has four channels"),
        (np.zeros((4, 6, 1), np.uint8), r"frame 1 must have shape .* got \(4, 6, 1\)"),
        (np.zeros((0, 6), np.uint8), "frame 1 must have shape"),
        ("a.jpg", "frame 1 must be a numpy array, got str"),
        (None, "frame 1 must be a numpy array, got NoneType"),
    ],
)
def test_frames_that_are_no_images(frame: object, message: str) -> None:
    with Camera([image(0), frame]) as frames:
        assert frames.read() is not None
        with pytest.raises(InputError, match=message):
            frames.read()
        assert frames.state is State.CLOSED
        assert isinstance(frames.error, InputError)
        assert frames.read() is None


def test_a_live_source_of_no_images_is_not_opened_again(device: FakeDevice) -> None:
    with Camera(device.source()) as live:
        device.send(np.zeros((4, 6, 4), np.uint8))
        with pytest.raises(InputError, match="fake: frame 0 has four channels"):
            live.read(timeout=5)
        wait_until(lambda: live.state is State.CLOSED)
    assert device.closed == device.opened == 1


def test_a_generator_that_raises_says_so_to_all() -> None:
    def frames() -> Iterator[np.ndarray]:
        yield image(0)
        raise OSError("disk")

    with Camera(frames()) as broken:
        assert broken.read() is not None
        with pytest.raises(OSError, match="disk"):
            broken.read()
        assert broken.state is State.CLOSED
        assert isinstance(broken.error, OSError)


def test_a_frame_is_told_without_its_pixels() -> None:
    with Camera([np.zeros((480, 640, 3), np.uint8)]) as frames:
        assert "array" not in repr(frames.read())


def test_a_source_may_be_at_its_end_as_soon_as_it_is_open(device: FakeDevice) -> None:
    device.send(None)
    with Camera(device.source(), reconnect=False) as live:
        assert live.read() is None
