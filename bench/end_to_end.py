"""Frames a second from a recording to moments, and of live cameras, here and in another version.

git worktree add /tmp/before COMMIT
python bench/end_to_end.py --data fer2013.zip --other /tmp/before

Both run in turn, each in a process of its own that waits while the other works.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from recording import record, runtime_arguments, table
from simulation import Scene, live, recorded

COUNTS = (1, 8)
CAMERAS, FPS = 4, 30


def main() -> None:
    parser = runtime_arguments(__doc__, seconds=3.0)
    parser.add_argument("--other", type=Path, help="root of another version's tree")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments)
        return
    trees = {"here": Path(__file__).parents[1]}
    if arguments.other is not None:
        trees["other"] = arguments.other.resolve()
    workers = {name: start(tree) for name, tree in trees.items()}
    tasks = [f"{count} faces" for count in COUNTS] + [f"{CAMERAS} cameras"]
    found: dict[str, dict[str, list[Any]]] = {task: {name: [] for name in trees} for task in tasks}
    for _ in range(arguments.turns):
        for task in tasks:
            for name, worker in workers.items():
                found[task][name].append(ask(worker, task))
    for worker in workers.values():
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait()
    rows = {
        task: {
            name: {key: statistics.median(one[key] for one in ones) for key in ones[0]}
            for name, ones in by_name.items()
        }
        for task, by_name in found.items()
    }
    record(arguments.out / "end-to-end.json", {"turns": arguments.turns, "rows": rows})
    print(
        table(
            ["", "version", "frames/s", "faces a frame", "age p99, ms", "p99 / service"],
            [
                [task, name, *(f"{value:.4g}" for value in row.values()), *[""] * (4 - len(row))]
                for task, by_name in rows.items()
                for name, row in by_name.items()
            ],
        )
    )


def start(tree: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, __file__, *sys.argv[1:], "--worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tree)},
    )


def ask(worker: "subprocess.Popen[str]", task: str) -> dict[str, float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(task + "\n")
    worker.stdin.flush()
    answer: dict[str, float] = json.loads(worker.stdout.readline())
    return answer


def work(arguments: argparse.Namespace) -> None:
    from fer_edge import Recognizer
    from fer_edge.data import load_dataset
    from fer_edge.runtime.detection import RetinaFace

    faces = load_dataset(arguments.data, "val").faces
    detector = RetinaFace()
    with Recognizer() as recognizer:
        list(zip(range(3), watched(recognizer, detector, faces[:1]), strict=False))
        for line in sys.stdin:
            number, what = line.split()
            if what == "faces":
                result = from_recording(
                    recognizer, detector, faces[: int(number)], arguments.seconds
                )
            else:
                result = from_cameras(recognizer, detector, faces, arguments.seconds)
            print(json.dumps(result), flush=True)


def watched(recognizer: Any, detector: Any, faces: Any) -> Any:
    from fer_edge import Camera

    with Camera(recorded(Scene(faces).recording(1))) as camera:
        yield from recognizer.watch(camera, detector=detector)


def from_recording(recognizer: Any, detector: Any, faces: Any, seconds: float) -> dict[str, float]:
    frames = seen = 0
    started = time.perf_counter()
    while time.perf_counter() < started + seconds:
        for moment in watched(recognizer, detector, faces):
            frames += 1
            seen += len(moment.faces)
    return {"fps": frames / (time.perf_counter() - started), "faces": seen / frames}


def from_cameras(recognizer: Any, detector: Any, faces: Any, seconds: float) -> dict[str, float]:
    """Live cameras of two faces each, every frame detected; the first half second is left out."""
    from fer_edge import Camera

    class Timed(Camera):
        """Notes when each frame is taken to be answered."""

        def __init__(self, source: Any) -> None:
            super().__init__(source)
            self.taken: dict[int, float] = {}

        def read(self, timeout: float | None = None) -> Any:
            frame = super().read(timeout)
            if frame is not None:
                self.taken[frame.index] = time.monotonic()
            return frame

    scenes = [Scene(faces[2 * i :][:2], seed=i).recording(1) for i in range(CAMERAS)]
    cameras = {
        f"camera {i}": Timed(live(scene, f"camera {i}", FPS)) for i, scene in enumerate(scenes)
    }
    begin = time.monotonic() + 0.5
    ages, service, seen = [], [], 0
    for moment in recognizer.watch(cameras.values(), detector=detector, detect_every=1):
        if moment.finished > begin + seconds:
            break
        if moment.finished > begin:
            taken = cameras[moment.frame.source].taken[moment.frame.index]
            ages.append(moment.age_ms)
            service.append(1e3 * (moment.finished - taken))
            seen += len(moment.faces)
    for camera in cameras.values():
        camera.close()
    p99 = float(np.percentile(ages, 99))
    return {
        "fps": len(ages) / seconds,
        "faces": seen / len(ages),
        "age_p99_ms": p99,
        "p99_over_service": p99 / statistics.mean(service),
    }


if __name__ == "__main__":
    main()
