"""What goes wrong around a program that uses the runtime."""

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fer_edge
from fer_edge.errors import InferenceError
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture import Camera, camera
from fer_edge.runtime.detection import Detection
from fer_edge.runtime.watch import watch
from tests.tiny import classify, tiny_artifact

from .capture.fakes import FakeDevice, image, wait_until

FACES = np.random.default_rng(1).integers(0, 256, (64, 48, 48), dtype=np.uint8)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artifact(tmp_path_factory.mktemp("faults") / "build", "fp32").folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "PATIENCE", 0.05)


def answer(faces: np.ndarray, _: bool) -> np.ndarray:
    return classify(faces)


def grid(n: int) -> list[Detection]:
    return [Detection(Box(20 * (i % 10), 20 * (i // 10), 18, 18), 0.9) for i in range(n)]


def test_no_faces_for_long_then_fifty_at_once(fake: Callable[..., object]) -> None:
    engine, recognizer = fake(batch=8)
    counts = iter([0] * 3000 + [50, 50])
    frame = np.random.default_rng(2).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    with recognizer, Camera(itertools.repeat(frame, 3002)) as frames:
        moments = recognizer.watch(frames, detector=lambda _: grid(next(counts)))
        *_, first, second = moments
    assert [face.track for face in first.faces] == [face.track for face in second.faces]
    assert len({face.track for face in first.faces}) == 50
    assert len(np.unique([face.raw for face in first.faces], axis=0)) == 50
    assert engine.batches == [8, 8, 8, 8, 8, 8, 2] * 2


def test_a_live_camera_that_changes_its_size() -> None:
    device = FakeDevice()
    with Camera(device.source()) as live:
        moments = watch(answer, [live], lambda _: grid(3))
        for shape in [(90, 120, 3), (45, 60, 3), (1080, 1920, 3), (90, 120), (1, 1, 3)]:
            device.send(np.zeros(shape, np.uint8))
            moment = next(moments)
            assert moment.frame.image.shape == shape
            assert [face.track for face in moment.faces] == [0, 1, 2]
        device.present = False


def test_a_slow_consumer_gets_what_is_new_and_the_rest_is_counted() -> None:
    device = FakeDevice()
    with Camera(device.source()) as live:
        moments = watch(answer, [live], lambda _: [])
        seen = []
        for turn in range(4):
            device.send(*[image(10 * turn + i) for i in range(5)])
            wait_until(lambda n=5 * turn + 4: live._numbering.count > n)
            moment = next(moments)
            seen.append((moment.frame.index, moment.frame.image[0, 0, 0]))
        device.present = False
    assert seen == [(4, 4), (9, 14), (14, 24), (19, 34)]
    assert live.dropped == 16


@pytest.mark.parametrize("error", [None, ValueError])
def test_a_consumer_that_stops_in_the_middle(
    fake: Callable[..., object], error: type[Exception] | None
) -> None:
    before = threading.active_count()
    device = FakeDevice()
    device.send(image(0), image(1))

    def consume() -> None:
        with fake()[1] as recognizer, Camera(device.source()) as live:
            for _ in recognizer.watch(live, detector=lambda _: grid(1)):
                recognizer.submit(FACES[:1]).result(10)
                if error is not None:
                    raise error
                break
            device.present = False

    if error is None:
        consume()
    else:
        with pytest.raises(error):
            consume()
        device.present = False
    wait_until(lambda: threading.active_count() == before)
    wait_until(lambda: device.closed == device.opened)


def test_an_engine_that_raises_now_and_then_fails_only_those_who_asked() -> None:
    calls = itertools.count()

    def unsteady(faces: np.ndarray, _: bool) -> np.ndarray:
        if len(faces) and next(calls) % 3 == 1:
            raise InferenceError("device lost")
        return classify(faces)

    device = FakeDevice()
    good, failed = [], 0
    with Camera(device.source()) as live:
        moments = watch(unsteady, [live], lambda _: grid(1))
        for i in range(9):
            device.send(image(i))
            try:
                good.append(next(moments).frame.index)
            except InferenceError:
                failed += 1
                moments = watch(unsteady, [live], lambda _: grid(1))
        device.present = False
    assert good == [0, 2, 3, 5, 6, 8]
    assert failed == 3


def test_32_threads_that_open_predict_and_close(artifact: Path) -> None:
    before = threading.active_count()
    start = threading.Barrier(32)
    expected = classify(FACES)

    def use(seed: int) -> None:
        rng = np.random.default_rng(seed)
        start.wait(30)
        for _ in range(3):
            with fer_edge.Recognizer(artifact, threads=1) as own:
                n = int(rng.integers(1, 64))
                futures = [own.submit(FACES[:n]), own.submit(FACES[n:])]
                whole = own(FACES).probabilities
                parts = [future.result(30).probabilities for future in futures]
            np.testing.assert_allclose(whole, expected, atol=1e-5)
            np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)
            with Camera(FACES[:3]) as frames:
                assert len(list(frames)) == 3

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(use, range(32)))
    assert threading.active_count() == before


def test_closing_what_32_threads_use(artifact: Path) -> None:
    recognizer = fer_edge.Recognizer(artifact, threads=1)
    running = threading.Barrier(33)
    expected = classify(FACES[:4])

    def use(direct: bool) -> int:
        running.wait(30)
        answers = 0
        while True:
            try:
                found = recognizer(FACES[:4]) if direct else recognizer.submit(FACES[:4]).result(30)
            except InferenceError:
                break
            np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
            answers += 1
        return answers

    with ThreadPoolExecutor(32) as pool:
        answers = [pool.submit(use, i % 2 == 0) for i in range(32)]
        running.wait(30)
        time.sleep(0.1)
        recognizer.close()
        assert sum(answer.result(30) for answer in answers) > 0


CTRL_C = """
import sys, time
import numpy as np
from fer_edge import Camera, Recognizer
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture import Source
from fer_edge.runtime.detection import Detection

class Device:
    def read(self):
        time.sleep(0.002)
        return np.zeros((90, 120, 3), np.uint8), None
    def close(self):
        print("freed", flush=True)

source = Source("fake", True, Device)
detector = lambda _: [Detection(Box(10, 10, 40, 40), 0.9)]
faces = np.zeros((64, 48, 48), np.uint8)
with Camera(source) as camera, Recognizer({artifact!r}) as recognizer:
    for _ in recognizer.watch(camera, detector=detector):
        print("running", flush=True)
        for _ in range(4):
            recognizer.submit(faces)
"""


def test_ctrl_c_frees_everything_and_ends_the_program(artifact: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CTRL_C.format(artifact=str(artifact))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=30)
    assert program.returncode == -signal.SIGINT, err
    assert out.splitlines()[-1] == "freed"
    assert err.strip().splitlines()[-1] == "KeyboardInterrupt"


def test_a_program_that_ends_with_requests_under_way(artifact: Path) -> None:
    # A thread that comes back from an engine while Python ends is killed inside C++: an abort.
    program = f"""
import atexit, threading
import numpy as np
from fer_edge import Recognizer
atexit.register(lambda: print(threading.active_count(), "at the end"))
recognizer = Recognizer({str(artifact)!r}, max_pending=10**6)
for _ in range(2000):
    recognizer.submit(np.zeros((64, 48, 48), np.uint8))
print(threading.active_count(), "under way")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 under way\n1 at the end\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_100_000_frames_take_no_more_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {__name__} as faults; faults.soak(100_000)"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    early, *_, late = map(int, done.stdout.split())
    assert late < 1.01 * early


def soak(n: int) -> None:
    """Watch ``n`` frames in which faces come and go; print the pages of memory now and then."""
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    detections = itertools.count()

    def frames() -> Iterator[np.ndarray]:
        for _ in range(n):
            yield picture.copy()

    def detector(_: np.ndarray) -> list[Detection]:
        second, tenth = divmod(next(detections), 30)
        return [Detection(Box(10 + tenth, 20, 30, 30), 0.9)] if second % 4 == 0 else []

    def even(faces: np.ndarray, _: bool) -> np.ndarray:
        return np.full((len(faces), 7), 1 / 7, np.float32)

    with Camera(frames()) as source:
        for moment in watch(even, [source], detector):
            if moment.frame.index % (n // 10) == n // 20:
                print(Path("/proc/self/statm").read_text().split()[1])
