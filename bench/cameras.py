"""Live cameras on too small a machine: how old frames are, what is dropped, what memory does.

python bench/cameras.py --data fer2013.zip --minutes 10
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
from recording import record, runtime_arguments, table
from simulation import Scene, live

from fer_edge import Camera, Recognizer
from fer_edge.data import load_dataset
from fer_edge.runtime import Frame

PARTS = 20
"""Points of the curve over time."""
PAGE_MIB = 4096 / 2**20
WARM_UP = 10.0
"""Seconds that count for nothing, at most a tenth of the run."""


def main() -> None:
    parser = runtime_arguments(__doc__, minutes=10.0)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--faces", type=int, default=2, help="per camera")
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--detect-every", type=int, default=1, help="0: what keeps up")
    parser.add_argument("--name", default="cameras")
    arguments = parser.parse_args()
    val = load_dataset(arguments.data, "val")
    sources = [
        live(
            Scene(val.faces[i * arguments.faces :][: arguments.faces], seed=i).recording(2),
            f"camera {i}",
            arguments.fps,
        )
        for i in range(arguments.cameras)
    ]
    with Recognizer() as recognizer:
        cameras = [TimedCamera(source) for source in sources]
        try:
            result = watch_for(recognizer, cameras, arguments)
        finally:
            for camera in cameras:
                camera.close()
    record(arguments.out / f"{arguments.name}.json", result)
    plot(result, arguments.out / f"{arguments.name}.png")
    keys = ["offered_fps", "seen_fps", "dropped", "unaccounted", "service_ms"]
    keys += ["service_p99_ms", "age_p50_ms", "age_p99_ms", "age_max_ms", "p99_over_service"]
    keys += ["memory_mib", "memory_growth_percent"]
    print(table(["", *keys], [[arguments.name, *(f"{result[key]:.4g}" for key in keys)]]))


class TimedCamera(Camera):
    """Notes when each frame is taken to be answered."""

    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self.taken: dict[int, float] = {}

    def read(self, timeout: float | None = None) -> Frame | None:
        frame = super().read(timeout)
        if frame is not None:
            self.taken[frame.index] = time.monotonic()
        return frame


def watch_for(recognizer: Recognizer, cameras: list[TimedCamera], arguments: Any) -> dict[str, Any]:
    length = 60 * arguments.minutes
    begin = time.monotonic() + min(WARM_UP, length / 10)
    by_name = {camera.name: camera for camera in cameras}
    first: dict[str, tuple[int, int]] = {}
    last: dict[str, tuple[int, int]] = {}
    ages, service, when = [], [], []
    memory: list[float] = []
    for moment in recognizer.watch(cameras, detect_every=arguments.detect_every or None):
        if moment.finished > begin + length:
            break
        name = moment.frame.source
        spent = 1e3 * (moment.finished - by_name[name].taken.pop(moment.frame.index))
        if moment.finished < begin:
            continue
        last[name] = (moment.frame.index, by_name[name].dropped)
        if name not in first:
            first[name] = last[name]
            continue
        ages.append(moment.age_ms)
        service.append(spent)
        when.append(moment.finished - begin)
        if len(memory) < PARTS * when[-1] / length:
            memory.append(resident())
    captured = sum(last[name][0] - first[name][0] for name in first)
    dropped = sum(last[name][1] - first[name][1] for name in first)
    p50, p99 = np.percentile(ages, [50, 99])
    parts = np.minimum((PARTS * np.array(when) / length).astype(int), PARTS - 1)
    return {
        "cameras": len(cameras),
        "detect_every": arguments.detect_every or "what keeps up",
        "minutes": arguments.minutes,
        "offered_fps": captured / length,
        "seen_fps": len(ages) / length,
        "dropped": dropped,
        # Neither seen nor dropped: beyond a few for each camera it would be a queue.
        "unaccounted": captured - dropped - len(ages),
        "service_ms": float(np.mean(service)),
        "service_p99_ms": float(np.percentile(service, 99)),
        "age_p50_ms": float(p50),
        "age_p99_ms": float(p99),
        "age_max_ms": max(ages),
        "p99_over_service": float(p99 / np.mean(service)),
        "memory_mib": memory[-1],
        "memory_growth_percent": 100 * (memory[-1] / memory[0] - 1),
        "over_time": {
            "minutes": [arguments.minutes * i / PARTS for i in range(PARTS)],
            "age_p99_ms": [
                float(np.percentile(np.array(ages)[parts == i], 99)) if (parts == i).any() else None
                for i in range(PARTS)
            ],
            "memory_mib": memory,
        },
    }


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MIB


def plot(result: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    curve = result["over_time"]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(curve["minutes"], curve["age_p99_ms"], "o-", label="age of frames, p99")
    left.axhline(3 * result["service_ms"], color="black", linestyle=":", label="3 service times")
    left.set(xlabel="minutes", ylabel="ms", ylim=(0, None))
    left.legend()
    right.plot(curve["minutes"][: len(curve["memory_mib"])], curve["memory_mib"], "o-")
    right.set(xlabel="minutes", ylabel="resident memory, MiB", ylim=(0, None))
    figure.suptitle(
        f"{result['cameras']} cameras, {result['offered_fps']:.0f} frames a second offered, "
        f"{result['seen_fps']:.0f} seen"
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
