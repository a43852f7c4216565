import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.runtime.capture import Camera, State, camera, video

from .fakes import wait_until

pytest.importorskip("av", reason="PyAV is not installed: pip install 'fer-edge[camera]'")

PYTHON = "/usr/bin/python3"
PROGRAM = Path(__file__).with_name("rtsp_server.py")


class Server:
    """GStreamer's RTSP server in a process of its own, which can be stopped and killed."""

    def __init__(self) -> None:
        self.port = 0
        self.start()
        self.address = f"rtsp://127.0.0.1:{self.port}/camera"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [PYTHON, PROGRAM, str(self.port)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    needed = "import gi; gi.require_version('GstRtspServer', '1.0')"
    check = [PYTHON, "-c", needed]
    if not Path(PYTHON).exists() or subprocess.run(check, capture_output=True).returncode:
        pytest.skip("needs an RTSP server: see rtsp_server.py")
    monkeypatch.setattr(video, "READ_SECONDS", 1.0)
    monkeypatch.setattr(camera, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(camera, "LONGEST_PAUSE", 0.2)
    found = Server()
    yield found
    found.kill()


def test_a_server_that_goes_and_comes_back(server: Server) -> None:
    with Camera(server.address) as live:
        frame = live.read(timeout=10)
        assert frame is not None
        assert frame.image.shape == (240, 320, 3)
        server.kill()
        wait_until(lambda: "cannot be opened" in str(live.error), seconds=10)
        assert live.state is State.LOST
        assert live.read(timeout=0) is None
        server.start()
        later = live.read(timeout=20)
    assert later is not None
    assert later.index > frame.index
    assert (live.reconnects, live.error) == (1, None)


def test_a_server_that_falls_silent_and_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "STALLED_AFTER", 0.3)
    with Camera(server.address) as live:
        assert live.read(timeout=10) is not None
        server.freeze()
        wait_until(lambda: live.state is State.STALLED)
        wait_until(lambda: live.state is State.LOST)
        server.thaw()
        assert live.read(timeout=20) is not None
        assert live.state is State.RUNNING


def test_the_end_of_a_program_waits_for_a_read_that_hangs(server: Server) -> None:
    # A thread that comes back from FFmpeg while Python ends is killed inside C++: an abort.
    program = f"""
import atexit, os, signal, threading
from fer_edge.runtime.capture import Camera, camera, video
atexit.register(lambda: print(threading.active_count(), "at the end"))
video.READ_SECONDS = 1.0
camera.PATIENCE = 0.1
with Camera({server.address!r}) as live:
    assert live.read(20) is not None
    os.kill({server.process.pid}, signal.SIGSTOP)
    while live.read(0.5):
        pass
print(threading.active_count(), "after closing")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 after closing\n1 at the end\n"
