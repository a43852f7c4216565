import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import (
    MissingDependencyError,
    RecordingStoppedError,
    StorageError,
    UsageError,
)
from fer_edge.runtime.capture import Camera, Source
from fer_edge.runtime.sinks import Video
from tests.moments import moment, seen

av = pytest.importorskip("av")


class Nothing:
    def read(self) -> None: ...

    def close(self) -> None: ...


def camera(name: str = "door", live: bool = False) -> Camera:
    return Camera(Source(name, live, Nothing), reconnect=False)


@pytest.fixture
def video(tmp_path: Path) -> Iterator[Video]:
    video = Video(tmp_path / "out.mp4", [camera()])
    yield video
    video.close()


def frames(path: Path) -> tuple[list[float], np.ndarray]:
    """Times, and pixels as BGR (N, H, W, 3)."""
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    return [one.time for one in decoded], np.stack([f.to_ndarray(format="bgr24") for f in decoded])


def test_a_recording_keeps_its_times(video: Video, tmp_path: Path) -> None:
    for i, position in enumerate([5.0, 5.04, 5.5]):
        video.show(moment(seen(), index=i, position=position))
    assert video.written == []
    video.close()
    assert video.written == [tmp_path / "out.mp4"]
    times, pixels = frames(tmp_path / "out.mp4")
    assert times == pytest.approx([0, 0.04, 0.5], abs=1e-3)
    assert pixels.shape == (3, 480, 640, 3)
    # The overlay is in it.
    assert np.ptp(pixels[0][150:270, 195:300].astype(int)) > 100
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_live_source_keeps_its_pace_whatever_was_dropped(tmp_path: Path) -> None:
    with camera(live=True) as live:
        video = Video(tmp_path / "out.mkv", [live])
    # Two frames that came at once still have an order.
    for index, captured in [(0, 100.0), (1, 100.033), (30, 101.0), (31, 101.0)]:
        video.show(moment(index=index, captured=captured))
    video.close()
    times, _ = frames(tmp_path / "out.mkv")
    assert times == pytest.approx([0, 0.033, 1, 1], abs=2e-3)


def test_images_without_a_time_follow_one_another(video: Video, tmp_path: Path) -> None:
    for i in range(3):
        video.show(moment(index=i))
    video.close()
    assert frames(tmp_path / "out.mp4")[0] == pytest.approx([0, 0.04, 0.08], abs=1e-3)


def test_frames_of_odd_and_changing_size(video: Video, tmp_path: Path) -> None:
    for i, shape in enumerate([(121, 161, 3), (60, 40), (240, 320, 3)]):
        video.show(moment(image=np.full(shape, 200, np.uint8), index=i))
    video.close()
    assert frames(tmp_path / "out.mp4")[1].shape == (3, 120, 160, 3)


def test_several_cameras_have_a_file_each(tmp_path: Path) -> None:
    video = Video(tmp_path / "out.mp4", [camera("a"), camera("b"), camera("c")])
    for i in range(4):
        video.show(moment(source="c" if i % 4 else "a", index=i))
    video.close()
    # b sent nothing.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-1.mp4", "out-3.mp4"]
    assert len(frames(tmp_path / "out-3.mp4")[0]) == 3


@pytest.mark.parametrize(
    ("out", "sources"), [("a.mp4", ["a.mp4"]), ("a.mp4", ["other.mkv", "a-1.mp4"])]
)
def test_what_is_read_is_not_written_over(tmp_path: Path, out: str, sources: list[str]) -> None:
    for name in sources:
        (tmp_path / name).write_bytes(b"a film")
    (tmp_path / "same").symlink_to(tmp_path)
    cameras = [
        Camera(Source(name, False, Nothing, files=[tmp_path / name]), reconnect=False)
        for name in sources
    ]
    with pytest.raises(UsageError, match=r"mp4 is what is read\. Choose another name"):
        Video(tmp_path / "same" / out, cameras)
    assert {(tmp_path / name).read_bytes() for name in sources} == {b"a film"}


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    video = Video(tmp_path / "file" / "out.mp4", [camera()])
    with pytest.raises(StorageError, match="file"):
        video.show(moment())
    video.close()
    assert video.written == []


PROGRAM = """
import os, resource, sys
from pathlib import Path
import numpy as np
from fer_edge.errors import RecordingStoppedError
from fer_edge.runtime.sinks import Video
from tests.moments import moment
from tests.runtime.sinks.test_video import camera

path, frames, then = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if then == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
noise = np.random.default_rng(0)
video = Video(path, [camera()])
for i in range(frames):
    pixels = noise.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    try:
        video.show(moment(image=pixels, index=i, position=i / 30))
    except RecordingStoppedError as error:
        print(i, error)
        break
if then == "kill":
    os.kill(os.getpid(), 9)
video.show(moment(index=frames, position=frames / 30))
video.close()
print(video.written, video.stopped)
"""


def record(path: Path, frames: int, then: str) -> str:
    command = [sys.executable, "-c", PROGRAM, str(path), str(frames), then]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("count", [20, 61])
def test_a_kill_costs_half_a_second_at_most(tmp_path: Path, ending: str, count: int) -> None:
    path = tmp_path / f"out.{ending}"
    assert record(path, count, "kill") == ""
    times, _ = frames(path)
    assert times[-1] > count / 30 - 0.5


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_a_disk_that_fills_keeps_what_was_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    told, end = record(path, 400, "limit").splitlines()
    assert f"Recording to {path} stopped after" in told
    assert "File too large. What was written until then is kept" in told
    assert end == "[] True"
    times, _ = frames(path)
    assert times[-1] > int(told.split()[0]) / 30 - 0.5


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_a_complete_file_can_be_searched(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    record(path, 600, "close")
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(20, abs=0.2)
        container.seek(15 * av.time_base)
        assert 5 < next(container.decode(video=0)).time <= 15


def test_what_cannot_be_completed_is_kept(
    video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video.show(moment())
    file = video._files["door"]

    class Full:
        def mux(self, _: object) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(file, "_container", Full())
    with pytest.raises(RecordingStoppedError, match=r"out\.mp4 stopped .*No space left on device"):
        video.close()
    assert video.written == []
    assert (tmp_path / "out.mp4").exists()


def test_names_that_are_none_of_a_video(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"out\.png is not a name for a video"):
        Video(tmp_path / "out.png", [camera()])


def test_no_pyav_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[camera\]'"):
        Video(tmp_path / "out.mp4", [camera()])
