import contextlib
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.errors import CaptureError, MissingDependencyError, UsageError
from fer_edge.runtime.capture import Camera, State, find_source, opencv
from fer_edge.runtime.capture.sources import without_password

from .fakes import image, wait_until

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install 'fer-edge[camera]'")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for value in (0, 60, 120, 180):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    return path


def test_a_recording_gives_all_frames_and_their_positions(recording: Path) -> None:
    with Camera(recording) as frames:
        assert frames.length == 4
        seen = list(frames)
    assert [frame.image.shape for frame in seen] == [(48, 64, 3)] * 4
    np.testing.assert_allclose([f.image.mean() for f in seen], [0, 60, 120, 180], atol=3)
    positions = [frame.position for frame in seen]
    np.testing.assert_allclose(np.diff(np.array(positions, float)), 0.1, atol=1e-3)
    assert not frames.live


def test_a_folder_gives_its_images_by_name_in_bgr(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6), (255, 0, 0)).save(tmp_path / "b.png")
    Image.new("RGB", (4, 4), (0, 0, 255)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    with Camera(tmp_path) as frames:
        assert frames.length == 2
        first, second = frames
    assert (first.image.shape, first.image[0, 0].tolist()) == ((4, 4, 3), [255, 0, 0])
    assert (second.image.shape, second.image[0, 0].tolist()) == ((6, 8, 3), [0, 0, 255])


@pytest.mark.parametrize(
    ("what", "live"),
    [
        (0, True),
        ("1", True),
        ("rtsp://camera/1", True),
        ("http://camera/video", True),
        ("csi://0", True),
        ("videotestsrc ! videoconvert ! appsink", True),
        ([image(0)], False),
    ],
)
def test_kinds_are_told_by_their_look(what: object, live: bool) -> None:
    assert find_source(what).live is live


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        (-1, UsageError, "no camera -1"),
        (True, UsageError, "no camera True"),
        (2.5, UsageError, "float is no source"),
        ("gopher://x", UsageError, "gopher:// is no address .* rtsp://"),
        ("nowhere.mp4", CaptureError, "no file nowhere.mp4"),
        ("csi://0?size=3", UsageError, "no option size.* width, height, fps, flip"),
        ("csi://zero", UsageError, "sensor 'zero' is no number"),
        ("csi://0?flip=9", UsageError, "no flip 9"),
    ],
)
def test_what_is_no_source(what: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        find_source(what)


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"has no images.*\.jpg"):
        find_source(tmp_path)


def test_a_file_that_is_no_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not a video")
    with pytest.raises(CaptureError, match=r"a\.mp4 cannot be opened.*Is it a video"):
        Camera(path)
    assert "ERROR:" not in capfd.readouterr().err


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(CaptureError, match=r"Camera 77 cannot be opened.*Cameras here"):
        Camera(77)


def test_a_stream_that_nobody_serves() -> None:
    with pytest.raises(CaptureError, match=r"rtsp://me@127\.0\.0\.1:9/x cannot be opened"):
        Camera("rtsp://me:secret@127.0.0.1:9/x")


def test_passwords_are_not_shown() -> None:
    assert without_password("rtsp://me:secret@host:554/a?b=c") == "rtsp://me@host:554/a?b=c"
    assert without_password("rtsp://host/a") == "rtsp://host/a"


def test_opencv_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[camera\]'"):
        Camera(recording)


@pytest.mark.skipif(
    cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer"
)
def test_an_opencv_without_gstreamer_names_the_fix() -> None:
    with pytest.raises(
        CaptureError, match=r"without GStreamer.*system-site-packages.*uninstall opencv-python"
    ):
        Camera("csi://0")


class Broadcast:
    """MJPEG over HTTP, as IP cameras send it; it can fall silent or hang up."""

    def __init__(self) -> None:
        self.sending = threading.Event()
        self.sending.set()
        self.hang_up = threading.Event()
        jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
        part = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
        broadcast = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
                self.end_headers()
                while not broadcast.hang_up.is_set():
                    broadcast.sending.wait(0.05)
                    if broadcast.sending.is_set():
                        self.wfile.write(part + jpeg + b"\r\n")
                        time.sleep(0.02)

            def log_message(self, *_: object) -> None:
                pass

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the other side has hung up
                    super().handle()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/video.mjpg"


@pytest.fixture
def broadcast(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broadcast]:
    monkeypatch.setattr(opencv, "READ_SECONDS", 0.6)
    monkeypatch.setattr(opencv, "OPEN_SECONDS", 3.0)
    server = Broadcast()
    yield server
    server.hang_up.set()
    server.server.shutdown()
    server.server.server_close()


def test_a_stream_that_falls_silent_and_one_that_hangs_up_come_back(broadcast: Broadcast) -> None:
    with Camera(broadcast.address) as live:
        assert live.read(timeout=5) is not None
        broadcast.sending.clear()
        wait_until(lambda: live.state is State.LOST, seconds=10)
        broadcast.sending.set()
        wait_until(lambda: live.reconnects == 1, seconds=10)
        assert live.read(timeout=5) is not None
        broadcast.hang_up.set()
        wait_until(lambda: live.state is State.LOST, seconds=10)
        broadcast.hang_up.clear()
        wait_until(lambda: live.reconnects >= 2, seconds=10)
        frame = live.read(timeout=5)
    assert frame is not None
    assert frame.image.shape == (48, 64, 3)


def test_a_program_that_forgets_to_close_ends_well(broadcast: Broadcast) -> None:
    program = f"""
from fer_edge.runtime.capture import Camera
live = Camera({broadcast.address!r})
assert live.read(20) is not None
"""
    # Without care, FFmpeg's thread is killed inside C++ and aborts the program.
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
