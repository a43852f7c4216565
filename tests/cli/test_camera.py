import contextlib
import inspect
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fer_edge.cli import app as commands
from fer_edge.contract import EMOTIONS
from fer_edge.data import FaceDataset
from fer_edge.errors import OutputError
from fer_edge.runtime import Recognizer, capture
from fer_edge.runtime.capture import camera
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.recording import analyze
from fer_edge.runtime.sinks import window
from fer_edge.runtime.smoothing import Smoother
from tests.runtime.capture.fakes import FakeDevice, wait_until

from .conftest import Command, leftovers
from .test_app import IMPORTED, RUN, imported

pytestmark = pytest.mark.usefixtures("one_face_each")

FRAME = np.full((240, 320, 3), 127, np.uint8)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """What the source ``fake`` means: a live camera in the test's hands."""
    fake, find = FakeDevice(), capture.find_source
    monkeypatch.setattr(
        capture,
        "find_source",
        lambda text, **wishes: fake.source() if text == "fake" else find(text, **wishes),
    )
    monkeypatch.setattr(camera, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(camera, "PATIENCE", 0.05)
    return fake


class Window:
    """A window that is closed at the third look."""

    def __init__(self, cameras: object) -> None:
        del cameras
        self.moments: list[Moment] = []
        self.looks = 0
        self.closed = False
        windows.append(self)

    def show(self, moment: Moment) -> None:
        self.moments.append(moment)

    def refresh(self) -> bool:
        self.looks += 1
        return self.looks < 3

    def close(self) -> None:
        self.closed = True


windows: list[Window] = []


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    windows.clear()
    monkeypatch.setattr(window, "check_window", lambda: None)
    monkeypatch.setattr("fer_edge.runtime.sinks.Window", Window)
    return windows


class Page:
    """A live page as the command sees it."""

    made: "list[Page]" = []  # noqa: RUF012

    def __init__(
        self, host: str, port: int, token: str | None, *, notice: str | None, cameras: list
    ) -> None:
        self.address = (host, port, token)
        self.notice = notice
        self.cameras = [one.name for one in cameras]
        self.frames: list[int] = []
        self.closed = False
        Page.made.append(self)

    def start(self) -> str:
        return "http://here:8080/"

    def show(self, moment: Moment) -> None:
        self.frames.append(moment.frame.index)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> "list[Page]":
    module = ModuleType("fer_edge.runtime.live")
    module.LivePage, module.NOTICE = Page, "A notice."
    monkeypatch.setitem(sys.modules, module.__name__, module)
    Page.made.clear()
    return Page.made


def test_headless_prints_a_line_of_json_per_frame(
    fer_edge: Command, exported: Path, film: Path
) -> None:
    result = fer_edge("camera", film, "--headless", "-m", exported)
    assert result.code == 0
    moments = [json.loads(line) for line in result.out.splitlines()]
    assert [one["frame"] for one in moments] == list(range(20))
    for one in moments:
        assert (one["source"], one["size"]) == (str(film), [320, 240])
        assert one["faces"][0]["emotion"] in EMOTIONS
    assert result.err.startswith(f"{film}: 20 frames, 0 dropped, ")
    assert "ms (p99)" in result.err
    assert result.err.count("\n") == 1


def test_sources_take_turns_and_the_same_one_has_two_names(
    fer_edge: Command, exported: Path, film: Path
) -> None:
    result = fer_edge("camera", film, film, "--headless", "-m", exported, "--detect-every", 4)
    moments = [json.loads(line) for line in result.out.splitlines()]
    assert [one["source"] for one in moments[:4]] == [str(film), f"{film} (2)"] * 2
    assert [one["faces"][0]["score"] is None for one in moments[:8:2]] == [False, True, True, True]
    assert len(result.err.splitlines()) == 2


def test_photos_of_a_folder_are_taken_each_for_itself(
    fer_edge: Command, exported: Path, val: FaceDataset, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        photo = np.full((240, 320), 127, np.uint8)
        photo[60:156, 100:196] = np.kron(val.faces[i], np.ones((2, 2), np.uint8))
        Image.fromarray(photo).save(tmp_path / "photos" / f"{i}.png")
    result = fer_edge("camera", "photos", "--headless", "-m", exported)
    faces = [json.loads(line)["faces"] for line in result.out.splitlines()]
    assert len(faces) == 3
    assert all(face["probabilities"] == face["raw"] for (face,) in faces)


def test_what_is_smoothed_by_default_is_what_the_library_smooths() -> None:
    (library,) = {
        inspect.signature(one).parameters[name].default
        for one, name in (
            (Recognizer.watch, "smooth_seconds"),
            (analyze, "smooth_seconds"),
            (Smoother, "seconds"),
        )
    }
    for command in (commands.camera, commands.analyze):
        assert inspect.signature(command).parameters["smoothing"].default == library


def test_a_recording_is_a_video_with_every_frame(
    fer_edge: Command, exported: Path, film: Path, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    result = fer_edge("camera", film, film, "--record", "out.mp4", "-m", exported)
    assert (result.code, result.out) == (0, "")
    assert result.err.endswith("Recorded: out-1.mp4\nRecorded: out-2.mp4\n")
    for name in ("out-1.mp4", "out-2.mp4"):
        with av.open(str(tmp_path / name)) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert times == pytest.approx(np.arange(20) / 40, abs=1e-3)
    assert leftovers(tmp_path) == []


def test_a_live_camera_is_told_of_when_it_is_lost_and_back(
    fer_edge: Command, exported: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_edge.cli.camera._LOOK_EVERY", 0.01)
    seen = _ended_after(monkeypatch, 4)

    def script() -> None:
        device.send(FRAME)
        seen(1)
        device.present = False
        lost.wait(30)
        device.present = True
        device.send(FRAME)
        seen(2)
        back.wait(30)
        device.send(FRAME)
        seen(3)
        device.send(FRAME)

    lost, back = threading.Event(), threading.Event()
    _listen(monkeypatch, {"is lost": lost, "is back": back})
    thread = threading.Thread(target=script)
    thread.start()
    result = fer_edge("camera", "fake", "--headless", "-m", exported)
    thread.join()
    device.present = False
    assert result.code == 0
    first, second, last = result.err.splitlines()
    assert first == "fake is lost: fake sends no more frames."
    assert second == "fake is back."
    assert last.startswith("fake: 4 frames, 0 dropped, 1 reconnects, ")


def test_a_camera_that_is_not_there_yet_is_waited_for(
    fer_edge: Command, exported: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_edge.cli.camera._LOOK_EVERY", 0.01)
    _ended_after(monkeypatch, 1)
    missed = threading.Event()
    _listen(monkeypatch, {"is waited for": missed})
    device.present = False

    def plug_in() -> None:
        missed.wait(30)
        device.send(FRAME)
        device.present = True

    thread = threading.Thread(target=plug_in)
    thread.start()
    result = fer_edge("camera", "fake", "--wait", "--headless", "-m", exported)
    thread.join()
    device.present = False
    assert result.code == 0
    assert result.err.startswith("fake is waited for: fake cannot be opened.\n")
    assert "fake: 1 frames, 0 dropped, " in result.err


def test_the_images_of_a_folder_may_have_a_rate(
    fer_edge: Command, exported: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(FRAME).save(folder / name)
    result = fer_edge("camera", folder, "--fps", 4, "--headless", "-m", exported)
    assert [json.loads(line)["position"] for line in result.out.splitlines()] == [0, 0.25]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_cleanly_and_the_recording_is_whole(
    fer_edge: Command,
    exported: Path,
    device: FakeDevice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    av = pytest.importorskip("av")
    before = signal.getsignal(signal.SIGTERM)
    _ended_after(monkeypatch, 1, how)
    device.send(FRAME)
    result = fer_edge("camera", "fake", "--headless", "--record", "a.mp4", "-m", exported)
    device.present = False
    assert result.code == 0
    assert len(result.out.splitlines()) == 1
    assert result.err.startswith("fake: 1 frames, 0 dropped, age ")
    assert result.err.endswith("Recorded: a.mp4\n")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert len(list(container.decode(video=0))) == 1
    wait_until(lambda: device.closed == device.opened)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_page_is_served_while_it_lasts(
    fer_edge: Command, exported: Path, film: Path, page: list[Page]
) -> None:
    options = ("--web", 8080, "--host", "0.0.0.0", "--token", "secret")
    result = fer_edge("camera", film, *options, "-m", exported)
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith("Live page: http://here:8080/\n")
    (made,) = page
    assert made.address == ("0.0.0.0", 8080, "secret")
    assert made.cameras == [str(film)]
    assert made.frames == list(range(20))
    assert made.closed


def test_a_page_is_this_machines_unless_told_otherwise(
    fer_edge: Command, exported: Path, film: Path, page: list[Page]
) -> None:
    assert fer_edge("camera", film, "--web", 0, "-m", exported).code == 0
    assert page[0].address == ("127.0.0.1", 0, None)


def test_closing_the_window_ends_the_command(
    fer_edge: Command, exported: Path, device: FakeDevice, screen: list[Window]
) -> None:
    result = fer_edge("camera", "fake", "-m", exported)
    device.present = False
    assert (result.code, result.out) == (0, "")
    assert result.err == "fake: 0 frames, 0 dropped\n"
    (shown,) = screen
    assert shown.looks == 3
    assert shown.closed


@pytest.mark.parametrize(
    ("options", "windows_shown"), [([], 1), (["--headless"], 0), (["--headless", "--window"], 1)]
)
def test_the_window_is_the_default(
    fer_edge: Command,
    exported: Path,
    device: FakeDevice,
    screen: list[Window],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    windows_shown: int,
) -> None:
    if not windows_shown:
        _ended_after(monkeypatch, 1)
    device.send(FRAME)
    assert fer_edge("camera", "fake", *options, "-m", exported).code == 0
    device.present = False
    assert len(screen) == windows_shown


def test_without_a_display_the_alternatives_are_named(
    fer_edge: Command, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OutputError("OpenCV cannot open a window here (no display).")

    monkeypatch.setattr(window, "check_window", refuse)
    error = fer_edge("camera", film).error()
    assert "no display" in error
    for option in ("--headless", "--web", "--record"):
        assert option in error


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.mp4", "--headless"], 1, "There is no file nowhere.mp4"),
        (["99", "--headless"], 1, "Camera 99 cannot be opened. Cameras here: "),
        (["ftp://host/a", "--headless"], 2, "ftp:// is no address that can be opened"),
        (["x ! fakesink", "--headless"], 1, "GStreamer"),
        (["0", "--headless", "--size", "big"], 2, "--size big is no size. Say --size 1280x720"),
        (["FILM", "--headless", "--size", "8x8"], 2, "has a size of its own"),
        (["FILM", "--record", "a.gif"], 2, "a.gif is not a name for a video"),
        (["rtsp://me:s[x@host/a", "--headless"], 2, "rtsp://me@host/a is no address."),
        (["FILM", "--mqtt", "mqtt://[::1/t"], 2, "mqtt://[::1/t is no address."),
        (["FILM", "--mqtt", "host"], 2, "host is no address of an MQTT broker"),
        (["FILM", "--headless", "--host", "::"], 2, "--host is for the live page. Add --web 8080"),
        (["FILM", "--headless", "--token", "x"], 2, "--token is for the live page"),
        (["FILM", "--headless", "--detector", "yunet=a.onnx"], 1, "There is no file a.onnx"),
        (["FILM", "--headless", "--detector", "yunet"], 2, "Say --detector yunet=FILE"),
        (["FILM", "--headless", "--detector", "mtcnn"], 2, "There is no detector 'mtcnn'. Take"),
        (["FILM", "--headless", "--detector", "."], 1, "is not an artifact"),
        (["FILM", "--headless", "--detector-size", "5000"], 2, "5000 pixels is too large"),
        (
            ["FILM", "--headless", "--detector", "yunet=a.onnx", "--detector-size", "320"],
            2,
            "--detector-size is RetinaFace's",
        ),
        (["FILM", "--headless", "-m", "nothing"], 1, "There is no model 'nothing'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    fer_edge: Command, film: Path, arguments: list[str], code: int, says: str
) -> None:
    words = [film if word == "FILM" else word for word in arguments]
    assert says in fer_edge("camera", *words).error(code)


def test_a_reader_that_has_seen_enough_ends_it(
    python: Callable[..., subprocess.Popen[str]], exported: Path, film: Path
) -> None:
    pytest.importorskip("retinaface")
    read, write = os.pipe()
    os.close(read)
    process = python(RUN, "camera", film, "--headless", "-m", exported, stdout=write)
    os.close(write)
    told = process.communicate(timeout=300)[1].splitlines()
    assert [line for line in told if not line.startswith("Making the face detector")] == []
    assert process.returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes cannot be waited for here")
def test_a_reader_that_is_stuck_does_not_keep_it_from_its_end(
    python: Callable[..., subprocess.Popen[str]], exported: Path, film: Path
) -> None:
    av = pytest.importorskip("av")
    fakes = """
import sys
from fer_edge.runtime import RetinaFace
from fer_edge.runtime.sinks import JsonLines
RetinaFace.__call__ = lambda *_: []
show = JsonLines.show
def told(*given):
    print("writing", file=sys.stderr, flush=True)
    show(*given)
JsonLines.show = told
"""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, bytes(select.PIPE_BUF))
    os.set_blocking(write, True)
    command = ("camera", film, "--headless", "--record", "a.mp4", "-m", exported)
    process = python(fakes + RUN, *command, stdout=write)
    os.close(write)
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "writing\n"
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=30)[1]
    finally:
        process.kill()
        process.wait()
        os.close(read)
    assert process.returncode == 0, err
    assert err.endswith("Recorded: a.mp4\n")
    with av.open("a.mp4") as container:
        assert len(list(container.decode(video=0))) == 1


def test_headless_imports_only_what_it_needs(
    python: Callable[..., subprocess.Popen[str]], exported: Path, film: Path
) -> None:
    pytest.importorskip("retinaface")
    packages = imported(python(IMPORTED, "camera", film, "--headless", "-m", exported))
    assert {"av", "cv2", "onnxruntime"} <= packages
    assert not packages & {"torch", "onnx", "paho", "pyarrow", "matplotlib"}


@pytest.mark.skipif(not shutil.which("Xvfb"), reason="needs Xvfb")
def test_a_real_window(
    python: Callable[..., subprocess.Popen[str]],
    exported: Path,
    film: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("retinaface")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    try:
        assert select.select([read], [], [], 60)[0]
        monkeypatch.setenv("DISPLAY", f":{os.read(read, 16).decode().strip()}")
        process = python(RUN, "camera", film, "--window", "--record", "a.mp4", "-m", exported)
        out, err = process.communicate(timeout=300)
    finally:
        server.terminate()
        server.wait()
        os.close(read)
        os.close(write)
    assert (process.returncode, out) == (0, "")
    assert err.startswith(f"{film}: 20 frames, 0 dropped")


def _ended_after(
    monkeypatch: pytest.MonkeyPatch, n: int, how: signal.Signals = signal.SIGINT
) -> Callable[[int], object]:
    """Interrupt the command at the ``n``-th line; returns what waits for the ``i``-th."""
    from fer_edge.runtime.sinks import JsonLines

    show, passed = JsonLines.show, [threading.Event() for _ in range(n + 1)]
    count = 0

    def counted(self: JsonLines, moment: Moment) -> None:
        nonlocal count
        show(self, moment)
        count += 1
        passed[count].set()
        if count == n:
            os.kill(os.getpid(), how)

    monkeypatch.setattr(JsonLines, "show", counted)
    return lambda i: passed[i].wait(30)


def _listen(monkeypatch: pytest.MonkeyPatch, words: dict[str, threading.Event]) -> None:
    """Set an event when its words are printed on stderr."""
    from rich.console import Console

    show = Console.print

    def listening(self: Console, *what: object, **options: object) -> None:
        show(self, *what, **options)
        for said, event in words.items():
            if said in str(what[0]):
                event.set()

    monkeypatch.setattr(Console, "print", listening)


def test_an_image_of_a_folder_that_cannot_be_read_is_named(
    fer_edge: Command, exported: Path, face: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("1.png", "2.png", "10.png"):
        (tmp_path / "photos" / name).write_bytes(face.read_bytes())
    (tmp_path / "photos" / "2.png").write_bytes(b"")
    result = fer_edge("camera", "photos", "--headless", "-m", exported)
    assert result.code == 1
    assert [json.loads(line)["file"] for line in result.out.splitlines()] == ["1.png", "10.png"]
    assert "error: photos/2.png cannot be read as an image" in result.err


@pytest.fixture
def cut(film: Path, tmp_path: Path) -> Path:
    """An AVI that has lost its second half."""
    av = pytest.importorskip("av")
    path = tmp_path / "cut.avi"
    with av.open(str(film)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    return path


def test_a_source_that_breaks_off_has_a_status_of_its_own(
    fer_edge: Command, exported: Path, cut: Path
) -> None:
    for command in (["analyze", cut, "--out", "a.csv"], ["camera", cut, "--record", "a.mp4"]):
        result = fer_edge(*command, "-m", exported)
        assert result.code == 3
        assert "cut.avi breaks off after" in result.err
    assert Path("a.csv").read_text().count("\n") > 5
    assert Path("a.mp4").stat().st_size > 1000


def test_a_recording_that_stops_lets_the_lines_go_on(
    python: Callable[..., subprocess.Popen[str]], exported: Path, film: Path
) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))\n"
    fake = "from fer_edge.runtime import RetinaFace\nRetinaFace.__call__ = lambda *_: []\n"
    for options, lines in ((["--headless"], 20), ([], 0)):
        process = python(
            limited + fake + RUN, "camera", film, *options, "--record", "a.mp4", "-m", exported
        )
        out, err = process.communicate(timeout=120)
        assert process.returncode == 4, err
        assert out.count("\n") == lines
        assert "Recording to a.mp4 stopped after" in err
