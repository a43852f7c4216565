import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.errors import BrokenOffError, CaptureError, UsageError
from fer_edge.runtime.capture import Camera, find_source

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'fer-edge[camera]'")

CODECS = {
    "h264": ("h264", "libx264"),
    "h265": ("hevc", "libx265"),
    "mp4": ("mp4", "libx264"),
    "mkv": ("matroska", "libx264"),
    "ts": ("mpegts", "libx264"),
    "avi": ("avi", "mpeg4"),
    "webm": ("webm", "libvpx"),
}


def write(path: Path, frames: int = 40, rate: int = 20, times: list[float] | None = None) -> Path:
    """Noise, so that every packet has bytes to cut."""
    form, codec = CODECS[path.suffix[1:]]
    noise = np.random.default_rng(0)
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    options = {"movflags": "faststart"} if form == "mp4" else {}
    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=rate, options=quiet)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for n in range(frames):
            pixels = noise.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            if times is not None:
                frame.pts, frame.time_base = round(1000 * times[n]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def positions(path: Path, fps: float | None = None) -> np.ndarray:
    with Camera(path, fps=fps) as frames:
        found = [frame.position for frame in frames]
        assert frames.error is None
    return np.array(found, float)


@pytest.mark.parametrize("ending", CODECS)
def test_times_follow_the_rate_in_every_container(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{ending}")
    np.testing.assert_allclose(positions(path), np.arange(40) / 20, atol=2e-3)
    np.testing.assert_allclose(positions(path, fps=4), np.arange(40) / 4)


def test_a_raw_stream_says_once_how_it_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.h264")
    positions(path)
    (line,) = caplog.messages
    assert "a.h264 has no times of its own" in line
    assert "20 a second. Another rate: --fps" in line
    positions(path, fps=7)
    assert len(caplog.messages) == 1


def test_frames_of_different_length_keep_their_times(tmp_path: Path) -> None:
    times = [0, 0.04, 0.5, 0.54, 2, 30, 30.04]
    for ending in ("mp4", "mkv"):
        path = write(tmp_path / f"a.{ending}", len(times), times=times)
        np.testing.assert_allclose(positions(path), times, atol=2e-3)


@pytest.mark.parametrize("ending", ["ts", "h264"])
def test_files_that_were_joined_go_on(ending: str, tmp_path: Path) -> None:
    one = write(tmp_path / f"a.{ending}").read_bytes()
    path = tmp_path / f"joined.{ending}"
    path.write_bytes(one + one)
    found = positions(path)
    assert len(found) == 80
    assert (np.diff(found) > 0).all()
    assert found[-1] == pytest.approx(79 / 20, abs=0.15)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "webm"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_a_file_that_was_cut_keeps_what_it_has(ending: str, share: float, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{ending}")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with Camera(path) as frames:
        assert len(list(frames)) > 40 * share - 12
        assert isinstance(frames.error, BrokenOffError)
        assert f"a.{ending} breaks off after" in str(frames.error)


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    with Camera(path) as frames:
        assert 20 < len(list(frames)) < 40
    assert "packets cannot be decoded" in str(frames.error)


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    with pytest.raises(CaptureError, match=r"a\.mp4.*cannot decode.*ffmpeg -i"):
        Camera(path)


def test_av1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libsvtav1", rate=20)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for _ in range(5):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), "bgr24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.FFmpegError, ValueError):
        pytest.skip("this PyAV writes no AV1")
    assert len(positions(path)) == 5


def test_names_that_look_like_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    film = write(tmp_path / "a.mkv", 3).read_bytes()
    for name in ("7777", "a ! b.mkv", "a:b.mkv", "-1", "%d.mkv"):
        Path(name).write_bytes(film)
        assert len(positions(Path(name))) == 3
        with Camera(name) as frames:
            assert len(list(frames)) == 3
    assert find_source(7777).live


def test_a_number_that_is_a_camera_and_a_file_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("3").touch()
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda one: str(one) == "/dev/video3" or exists(one))
    with pytest.raises(UsageError, match=r"Say /dev/video3 or \./3"):
        find_source("3")


@pytest.fixture
def turning() -> Iterator[str]:
    """MJPEG over HTTP that turns from landscape to portrait after ten pictures."""
    server = socket.create_server(("127.0.0.1", 0))

    def send(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.recv(4096)
            kind = b"multipart/x-mixed-replace; boundary=b"
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n")
            for n in range(300):
                stream = io.BytesIO()
                Image.new("L", (64, 48) if n < 40 else (48, 80), 90).save(stream, "JPEG")
                jpeg = stream.getvalue()
                head = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                client.sendall(head + jpeg + b"\r\n")
                time.sleep(0.03)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=send, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/v"
    server.close()


def test_every_frame_has_its_own_size(turning: str) -> None:
    with Camera(turning) as live:
        seen = {(48, 64, 3)}
        until = time.monotonic() + 20
        while (80, 48, 3) not in seen and time.monotonic() < until:
            frame = live.read(timeout=5)
            assert frame is not None
            seen.add(frame.image.shape)
    assert seen == {(48, 64, 3), (80, 48, 3)}
