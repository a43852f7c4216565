"""Faces of 16 threads in shared batches, beside one caller who fills the batches itself.

python bench/batching.py --data fer2013.zip
"""

import threading
import time

import numpy as np
from recording import record, runtime_arguments, table

from fer_edge import Recognizer
from fer_edge.data import load_dataset
from fer_edge.engines.base import Faces, Probabilities

THREADS = 16
SIZES = (1, 2, 4, 8)
"""Faces of a request."""
BATCH = 64
TURNS = 5


def main() -> None:
    parser = runtime_arguments(__doc__, seconds=40.0)
    arguments = parser.parse_args()
    faces = np.ascontiguousarray(load_dataset(arguments.data, "val").faces[:1024])
    seconds = arguments.seconds / TURNS / (len(SIZES) + 1)
    with Recognizer(batch=BATCH) as recognizer:
        serial = recognizer(faces).probabilities
        alone: list[float] = []
        shared: dict[int, list[float]] = {size: [] for size in SIZES}
        agreement = {}
        for _ in range(TURNS):
            alone.append(one_caller(recognizer, faces, seconds))
            for size in SIZES:
                speed, found = many_callers(recognizer, faces, size, seconds)
                shared[size].append(speed)
                known = np.isfinite(found).all(axis=1)
                agreement[size] = {
                    "faces": int(known.sum()),
                    "largest_difference": float(np.abs(found - serial)[known].max()),
                    "labels_changed": int((found.argmax(1) != serial.argmax(1))[known].sum()),
                }
        precision = recognizer.describe().precision
    full = float(np.median(alone))
    result = {
        "precision": precision,
        "threads": THREADS,
        "batch": BATCH,
        "one_caller_faces_per_second": full,
        "rows": {
            size: {
                "faces_per_second": float(np.median(speeds)),
                "share": float(np.median(speeds)) / full,
                **agreement[size],
            }
            for size, speeds in shared.items()
        },
    }
    record(arguments.out / "batching.json", result)
    print(f"One caller, batches of {BATCH}: {full:,.0f} faces/s\n")
    columns = ["faces a request", "faces/s", "of one caller", "largest difference", "other labels"]
    print(
        table(
            [f"{THREADS} threads, {columns[0]}", *columns[1:]],
            [
                [
                    str(size),
                    f"{row['faces_per_second']:,.0f}",
                    f"{100 * row['share']:.0f} %",
                    f"{row['largest_difference']:.1g}",
                    f"{row['labels_changed']} of {row['faces']:,}",
                ]
                for size, row in result["rows"].items()
            ],
        )
    )


def one_caller(recognizer: Recognizer, faces: Faces, seconds: float) -> float:
    """Faces a second."""
    started = time.perf_counter()
    done = 0
    while (spent := time.perf_counter() - started) < seconds:
        at = done % len(faces)
        recognizer(faces[at : at + BATCH])
        done += BATCH
    return done / spent


def many_callers(
    recognizer: Recognizer, faces: Faces, size: int, seconds: float
) -> tuple[float, Probabilities]:
    """Faces a second, and the newest answer for each face (NaN where there is none)."""
    found = np.full((len(faces), 7), np.nan, np.float32)
    counts = [0] * THREADS
    start = threading.Barrier(THREADS + 1)
    stop = threading.Event()

    def call(thread: int) -> None:
        own = np.arange(thread, len(faces), THREADS)
        start.wait()
        while not stop.is_set():
            chosen = np.take(own, range(counts[thread], counts[thread] + size), mode="wrap")
            found[chosen] = recognizer.submit(faces[chosen]).result().probabilities
            counts[thread] += size

    threads = [threading.Thread(target=call, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    started = time.perf_counter()
    stop.wait(seconds)
    done = sum(counts)
    spent = time.perf_counter() - started
    stop.set()
    for thread in threads:
        thread.join()
    return done / spent, found


if __name__ == "__main__":
    main()
