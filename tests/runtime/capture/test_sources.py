import contextlib
import http.server
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_edge.errors import CaptureError, MissingDependencyError, UsageError
from fer_edge.runtime.capture import Camera, State, find_source, video

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
    "names",
    [
        [f"{i}.png" for i in range(1, 13)],
        ["IMG_2.jpg", "img_3.png", "IMG_10.jpg", "IMG_0100.jpg"],
        ["a.png", "a1.png", "a02.png", "a2b1.png", "a2b10.png", "b.png"],
        ["scan 9.tif", "scan 10.tiff", "scan 11.gif"],
        ["1-1.png", "1-2.png", "1-10.png", "2-1.png", "\u0661.png"],
    ],
)
def test_a_folder_is_read_as_people_count(names: list[str], tmp_path: Path) -> None:
    for name in sorted(names):
        Image.new("L", (8, 6)).save(tmp_path / name)
    with Camera(tmp_path, fps=2) as frames:
        seen = list(frames)
    assert [frame.file for frame in seen] == names
    assert [frame.position for frame in seen] == [i / 2 for i in range(len(names))]


def test_an_image_that_cannot_be_read_keeps_its_place(tmp_path: Path) -> None:
    for i in range(5):
        Image.new("L", (8, 6)).save(tmp_path / f"{i}.png")
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    (tmp_path / "4.png").unlink()
    (tmp_path / "4.png").symlink_to("nowhere.png")
    with Camera(tmp_path, fps=10) as frames:
        seen = list(frames)
        assert [failure.file for failure in frames.failures] == ["0.png", "2.png", "4.png"]
        assert all(str(tmp_path) in str(failure) for failure in frames.failures)
    assert [(frame.index, frame.position) for frame in seen] == [(1, 0.1), (3, 0.3)]


def test_what_is_no_image_is_counted(tmp_path: Path) -> None:
    for name in ("a.png", ".hidden.png", "Thumbs.db", "b.txt", "c.TXT", "d"):
        Image.new("L", (8, 6)).save(tmp_path / name, "PNG")
    (tmp_path / "below").mkdir()
    with Camera(tmp_path) as frames:
        assert frames.length == 1
        assert frames.skipped == {".txt": 2, "folder": 1, "without ending": 1}
    (tmp_path / "a.png").unlink()
    with pytest.raises(CaptureError, match=r"no images \(it has 2 \.txt, 1 folder, 1 without"):
        Camera(tmp_path)


@pytest.mark.parametrize(
    ("what", "live"),
    [
        (0, True),
        ("1", True),
        (np.int64(0), True),
        ("/dev/video77", True),
        ("/dev/v4l/by-id/usb-front", True),
        ("rtsp://camera/1", True),
        ("http://camera/video", True),
        ("csi://0", True),
        ("videotestsrc ! videoconvert ! appsink", True),
        ([image(0)], False),
        (np.zeros((5, 4, 6), np.uint8), False),
        (np.zeros((5, 4, 6, 3), np.uint8), False),
    ],
)
def test_kinds_are_told_by_their_look(what: object, live: bool) -> None:
    assert find_source(what).live is live


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        (-1, UsageError, "no camera -1"),
        (np.int64(-1), UsageError, "no camera -1"),
        (True, UsageError, "no camera True"),
        ("", UsageError, "empty text"),
        (b"a.mp4", UsageError, "bytes is no source"),
        (np.zeros((4, 6), np.uint8), UsageError, r"one image.*\[image\]"),
        (image(0), UsageError, r"one image.*\[image\]"),
        (2.5, UsageError, "float is no source"),
        ("gopher://x", UsageError, "gopher:// is no address .* rtsp://"),
        ("nowhere.mp4", CaptureError, "no file nowhere.mp4"),
        ("csi://0?size=3", UsageError, "no option size.* width, height, fps, flip"),
        ("csi://[0", UsageError, r"csi://\[0 is no address"),
        ("rtsp://me:s[x@host/a", UsageError, "rtsp://me@host/a is no address.*%5B for"),
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


@pytest.mark.parametrize("camera", [77, "/dev/video77"])
def test_a_camera_that_is_not_there(camera: int | str) -> None:
    with pytest.raises(CaptureError, match=f"Camera {camera} cannot be opened.*Cameras here"):
        Camera(camera)


def test_a_stream_that_nobody_serves() -> None:
    with pytest.raises(CaptureError, match=r"rtsp://me@127\.0\.0\.1:9/x cannot be opened"):
        Camera("rtsp://me:secret@127.0.0.1:9/x")


def test_failures_are_told_by_us_alone(recording: Path) -> None:
    # In a program of its own: FFmpeg is asked to be silent when it is first used.
    program = f"""
from fer_edge.errors import CaptureError
from fer_edge.runtime.capture import Camera
assert len(list(Camera({str(recording)!r}))) == 4
try:
    Camera("rtsp://127.0.0.1:9/x")
except CaptureError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "cannot be opened" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://me:secret@host:554/a?b=c", "rtsp://me@host:554/a?b=c"),
        ("rtsp://host/a", "rtsp://host/a"),
        ("http://host/a?user=me&pwd=secret&id=1", "http://host/a?user=me&pwd=***&id=1"),
        ("rtsp://host/user=me&password=secret&id=1", "rtsp://host/user=me&password=***&id=1"),
        ("rtspsrc location=rtsp://me:secret@host user-pw=x ! appsink", "rtspsrc pipeline"),
    ],
)
def test_passwords_are_not_shown(address: str, shown: str) -> None:
    assert find_source(address).name == shown


def test_a_home_folder_may_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    with Camera("~") as frames:
        assert frames.length == 1
    with pytest.raises(CaptureError, match=f"no file {tmp_path}/b.mp4"):
        Camera("~/b.mp4")


@pytest.mark.parametrize(
    ("what", "wishes", "message"),
    [
        (0, {"size": (0, 480)}, r"no size \(0, 480\)"),
        (0, {"fps": 0}, "fps must be above 0, got 0"),
        ("rtsp://me:secret@host/a", {"fps": 5}, "rtsp://me@host/a has a rate of its own"),
        ("csi://0", {"size": (640, 480)}, r"csi://0 has a size .*csi://0\?width="),
        ([image(0)], {"size": (640, 480)}, "iterable has a size of its own"),
    ],
)
def test_wishes_that_nobody_can_heed(what: object, wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Camera(what, **wishes)


def test_a_recording_may_be_given_another_rate(recording: Path) -> None:
    with Camera(recording, fps=5) as frames:
        assert [frame.position for frame in frames] == [0, 0.2, 0.4, 0.6]


def test_a_recording_that_breaks_off_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    with Camera(path) as frames:
        assert len(list(frames)) == 20
        assert frames.error is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Camera(path) as frames:
        assert 0 < len(list(frames)) < 18
        assert frames.state is State.CLOSED
        assert re.search(r"a\.avi breaks off after \d\.\d of 2\.0 s", str(frames.error))


def test_frames_of_different_length_do_not_look_like_a_break(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.mkv"
    clock = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = clock
        for n in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")
            frame.pts, frame.time_base = 33 * min(n, 10) + 200 * max(n - 10, 0), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with Camera(path) as frames:
        assert frames.length > 40
        assert len(list(frames)) == 20
        assert frames.error is None


def test_times_of_a_programs_frames(tmp_path: Path) -> None:
    with Camera([image(0), image(1)], fps=4) as frames:
        assert [frame.position for frame in frames] == [0, 0.25]
    with Camera([(image(0), 1.5), (image(1), 3.0)]) as frames:
        assert [(frame.image[0, 0, 0], frame.position) for frame in frames] == [(0, 1.5), (1, 3.0)]
    with Camera([image(0)]) as frames:
        (frame,) = frames
        assert (frame.position, frame.time) == (None, frame.captured)
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 6)).save(tmp_path / "b.png")
    with Camera(tmp_path, fps=2) as frames:
        assert [frame.time for frame in frames] == [0, 0.5]


@pytest.mark.parametrize("module", ["cv2", "av"])
def test_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, recording: Path, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[camera\]'"):
        Camera(0 if module == "cv2" else recording)


@pytest.mark.skipif(
    cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer"
)
def test_an_opencv_without_gstreamer_names_the_fix() -> None:
    with pytest.raises(
        MissingDependencyError,
        match=r"without GStreamer.*system-site-packages.*uninstall opencv-python",
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
    monkeypatch.setattr(video, "READ_SECONDS", 0.6)
    monkeypatch.setattr(video, "OPEN_SECONDS", 3.0)
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
