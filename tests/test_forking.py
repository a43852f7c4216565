"""Children of a process that has used what has threads. Each runs in a Python of its own: pytest's
process is not one to fork."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

PARENT = """
import multiprocessing, os, sys, threading, time
import numpy as np
from fer_edge import Camera, Recognizer
from fer_edge.errors import FerEdgeError
from fer_edge.runtime import Box, Detection, Feed

FACES, PHOTO = np.zeros((1, 48, 48), np.uint8), np.zeros((64, 64, 3), np.uint8)
detector = lambda image: [Detection(Box(1, 1, 40, 40), 1.0)]
recognizer = Recognizer(threads=2)
recognizer.submit(FACES).result()
feed, folder = Feed("front"), Camera([PHOTO, PHOTO])

def told(work):
    try:
        return f"done {len(work())}"
    except FerEdgeError as error:
        return f"{type(error).__name__}: {error}"

def child(work, leave=sys.exit):
    read, write = os.pipe()
    number = os.fork()
    if not number:
        os.write(write, told(work).encode())
        leave(0)
    os.close(write)
    end = time.monotonic() + 60
    while not (ended := os.waitpid(number, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(number, 9)
            sys.exit("it hangs")
        time.sleep(0.01)
    print(ended[1], os.read(read, 10_000).decode())
"""
REFUSED = "was opened by the process that this one was forked from"


def run(script: str) -> list[str]:
    # Unbuffered: a child inherits what its parent has not written yet.
    done = subprocess.run(
        [sys.executable, "-u", "-c", PARENT + script], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("leave", ["sys.exit", "os._exit"])
def test_what_the_parent_opened_refuses_at_once(leave: str) -> None:
    lines = run(
        f"""
child(lambda: recognizer(FACES), {leave})
child(lambda: recognizer.submit(FACES).result(), {leave})
child(lambda: recognizer.find(PHOTO, detector=detector), {leave})
child(lambda: [*recognizer.watch(Camera([PHOTO]), detector=detector)], {leave})
child(lambda: [feed.read()], {leave})
child(lambda: [folder.read()], {leave})
child(lambda: [recognizer.close(), feed.close(), folder.close()], {leave})
print(told(lambda: recognizer.submit(FACES).result()), told(lambda: [folder.read()]))
"""
    )
    engine = [f"0 InferenceError: This engine {REFUSED}"] * 4
    cameras = [f"0 CaptureError: front {REFUSED}", f"0 CaptureError: frames {REFUSED}"]
    assert [line.partition(", and its")[0] for line in lines[:6]] == engine + cameras
    assert all("in post_fork" in line and "DataLoader" in line for line in lines[:6])
    assert lines[6:] == ["0 done 3", "done 1 done 1"]


def test_a_lock_held_at_the_moment_of_the_fork_stays_with_the_parent() -> None:
    lines = run(
        """
stop = threading.Event()
def busy():
    while not stop.is_set():
        recognizer.submit(np.zeros((64, 48, 48), np.uint8)).result()
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(10):
    child(lambda: recognizer.submit(FACES).result())
    child(lambda: recognizer.find(PHOTO, detector=lambda image: []))
stop.set()
"""
    )
    assert len(lines) == 20
    assert all(REFUSED in line or line == "0 done 0" for line in lines)


def test_an_answer_that_the_parent_waits_for_is_not_waited_for() -> None:
    (line,) = run(
        """
waiting = [recognizer.submit(np.zeros((64, 48, 48), np.uint8)) for _ in range(8)]
child(lambda: waiting[-1].result())
[future.result() for future in waiting]
"""
    )
    assert "went to the process that this one was forked from" in line


@pytest.mark.usefixtures("made_detector")
def test_a_child_that_opens_its_own_works() -> None:
    lines = run(
        """
recognizer.find(PHOTO)
def own():
    with Recognizer(threads=2) as mine:
        mine.submit(FACES).result()
        mine.find(PHOTO)
        return mine(FACES)
child(own)
child(own, os._exit)
worker = multiprocessing.get_context("fork").Process(target=lambda: print(told(own), flush=True))
worker.start()
worker.join(60)
print(worker.exitcode)
"""
    )
    assert lines == ["0 done 1", "0 done 1", "done 1", "0"]


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_openvino_refuses_in_a_child_of_a_process_that_has_used_it(precision: str) -> None:
    pytest.importorskip("openvino")
    lines = run(
        f"""
def own(backend="openvino"):
    with Recognizer(precision="{precision}", backend=backend, threads=2) as mine:
        return mine(FACES)
used = Recognizer(precision="{precision}", backend="openvino", threads=2)
used(FACES)
child(lambda: used(FACES))
used.close()
child(own)
child(own, os._exit)
child(lambda: own("onnxruntime-cpu"))
print(told(own))
"""
    )
    assert [line.partition(", and its")[0] for line in lines] == [
        f"0 InferenceError: This engine {REFUSED}",
        *[f"0 BackendUnavailableError: OpenVINO {REFUSED}"] * 2,
        "0 done 1",
        "done 1",
    ]
    assert all("spawn, or take the backend onnxruntime-cpu" in line for line in lines[:3])


def test_openvino_that_has_compiled_nothing_is_the_childs_own() -> None:
    pytest.importorskip("openvino")
    lines = run(
        """
from fer_edge.engines.openvino import shared_core
shared_core()
def own():
    with Recognizer(precision="fp32", backend="openvino", threads=2) as mine:
        return mine(FACES)
child(own)
print(told(own))
"""
    )
    assert lines == ["0 done 1", "done 1"]


def test_a_child_of_a_process_that_only_imported_it_ends() -> None:
    assert run("import onnxruntime\nchild(lambda: [])") == ["0 done 0"]


def test_a_watch_that_was_begun_before_the_fork_refuses() -> None:
    (line, rest) = run(
        """
detector = lambda image: [Detection(Box(1, 1, 40, 40), 1.0)]
class Several:
    at_once = 2
    def __call__(self, image):
        return detector(image)
watching = recognizer.watch(Camera([PHOTO] * 6), detector=Several())
next(watching)
child(lambda: [next(watching)])
print(told(lambda: [*watching]))
"""
    )
    assert "This watch was opened by the process that this one was forked from" in line
    assert rest == "done 5"
