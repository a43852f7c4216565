"""Frames that go to the GPU once, beside those that are scaled and cropped on the processor."""

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from fer_edge import Recognizer
from fer_edge.contract import FER2013
from fer_edge.detection import Detection, RetinaFace, retinaface
from fer_edge.detection.letterbox import letterboxed, letterboxed_there, scale_into, standard_bucket
from fer_edge.detector_contract import Bucket
from fer_edge.engines import cuda
from fer_edge.engines.detector import open_detector
from fer_edge.engines.frames import FrameGpu, GpuFrame, frames_on
from fer_edge.engines.on_gpu import Joined, OnGpu
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_faces
from gpu_steps.step import CARRIED, Skipped, need, need_backend, need_gpu

SIZES = ((640, 480), (1920, 1080), (7680, 4320))
FACES = (1, 8, 50)
BATCHES = (1, 2, 4, 8)
BUCKET = Bucket(640, 480)


def travelling(_work: Path, seconds: float) -> dict[str, Any]:
    """By size of frames: ms to send one, to letterbox it and to cut faces out of it.

    Beside each the same on the processor, and by how many grey levels they differ.
    """
    there = _there()
    return {f"{width}x{height}": _of_size(width, height, there, seconds) for width, height in SIZES}


def _of_size(width: int, height: int, there: FrameGpu, seconds: float) -> dict[str, Any]:
    image = _images(width, height)[0]
    frame = GpuFrame(image, there)
    bucket = standard_bucket(width, height, 640)
    scale = scale_into(width, height, bucket, 640)
    found: dict[str, Any] = {
        "send_ms": _median_ms(partial(_sent, image, there), seconds),
        "letterbox": _compared(
            there,
            partial(letterboxed_there, frame, bucket, scale),
            partial(letterboxed, image, bucket, scale),
            seconds,
        ),
    }
    for faces in FACES:
        boxes = _boxes(faces, width, height)
        found[f"{faces} faces"] = _compared(
            there, partial(frame.crops, boxes, FER2013), partial(crop_faces, image, boxes), seconds
        )
    return found


def batches(work: Path, seconds: float) -> dict[str, Any]:
    """Frames a second that a detector's engine looks at, by how many go through it together."""
    there = _there()
    artifact = _detector(work)
    frames = [GpuFrame(image, there) for image in _images(*BUCKET, count=max(BATCHES))]
    found: dict[str, Any] = {}
    for precision in dict.fromkeys(record.precision for record in artifact.manifest.engines):
        with open_detector(artifact, BUCKET, backend="tensorrt", precision=precision) as engine:
            rates = {}
            for number in BATCHES:
                stacked = [letterboxed_there(frame, BUCKET, 1) for frame in frames[:number]]
                batch = Joined(stacked)
                took = _median_ms(partial(engine.look, batch, there, 0.7), seconds)
                rates[number] = 1e3 * number / took
            found[precision] = rates
    return found


def once(work: Path, seconds: float) -> dict[str, Any]:
    """Photos a second of ``find``, of one thread and of eight, on the GPU and by the processor."""
    _there()
    need_backend("tensorrt")
    from fer_edge.export.pipeline import export_model

    model = work / "classifier"
    if not model.is_dir():
        export_model(CARRIED, model, precisions=["fp16"], backends=["tensorrt"])
    artifact = _detector(work)
    found: dict[str, Any] = {}
    for way in ("gpu", "processor"):
        with _way(way), Recognizer(model, backend="tensorrt") as recognizer:
            found[way] = {
                f"{faces} faces, {threads} threads": _photos_a_second(
                    recognizer, Given(artifact.folder, faces), threads, seconds
                )
                for faces in FACES
                for threads in (1, 8)
            }
    return found


class Given(RetinaFace):
    """Looks for faces, and says that it has found those that a measurement wants."""

    def __init__(self, folder: Path, faces: int) -> None:
        super().__init__(folder, backend="tensorrt")
        self._given = [Detection(box, 0.9) for box in _boxes(faces, *BUCKET)]

    def __call__(self, image: Any) -> list[Detection]:
        super().__call__(image)
        return self._given


@contextlib.contextmanager
def _way(way: str) -> Iterator[None]:
    """Have engines opened anew, which do without the GPU for frames where ``way`` says so."""
    before = retinaface.frames_on
    retinaface._shared.after_fork()
    if way == "processor":
        retinaface.frames_on = lambda _: None  # type: ignore[assignment]
    try:
        yield
    finally:
        retinaface.frames_on = before
        retinaface._shared.after_fork()


def _photos_a_second(
    recognizer: Recognizer, detector: RetinaFace, threads: int, seconds: float
) -> float:
    images = _images(*BUCKET, count=threads)
    recognizer.find(images[0], detector=detector, color="bgr")
    done = [0] * threads
    end = time.monotonic() + seconds

    def work(which: int) -> None:
        while not done[which] or time.monotonic() < end:
            recognizer.find(images[which], detector=detector, color="bgr")
            done[which] += 1

    workers = [threading.Thread(target=work, args=(which,)) for which in range(threads)]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.monotonic() - started)


def _there() -> FrameGpu:
    need_gpu()
    found = frames_on(0)
    if found is None:
        raise Skipped("This GPU takes no frames; the log says why.")
    return found


def _detector(work: Path) -> Any:
    """The default detector for one size with engines, made once for all steps."""
    need("onnx", "retinaface")
    need_backend("tensorrt")
    from fer_edge.detector_artifact import DetectorArtifact
    from fer_edge.export.detector.pipeline import make_detector
    from fer_edge.export.targets.engine_plan import BatchRange

    folder = work / "detector"
    if not folder.is_dir():
        make_detector(
            folder,
            sizes=[BUCKET],
            precisions=["fp32", "fp16", "int8"],
            backends=["tensorrt"],
            batch=BatchRange(1, 4, max(BATCHES)),
        )
    return DetectorArtifact.load(folder)


def _images(width: int, height: int, count: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def _boxes(faces: int, width: int, height: int) -> list[Box]:
    rng = np.random.default_rng(1)
    sides = rng.uniform(0.05, 0.4, faces) * height
    corners = rng.uniform(-0.1, 1, (faces, 2)) * (width, height)
    return [Box(*map(float, (x, y, s, s))) for (x, y), s in zip(corners, sides, strict=True)]


def _sent(image: np.ndarray, there: FrameGpu) -> None:
    with there.device:
        GpuFrame(image, there).place()
        there.uploads.stream.synchronize()


def _compared(
    there: FrameGpu,
    batch: Callable[[], OnGpu],
    on_processor: Callable[[], np.ndarray],
    seconds: float,
) -> dict[str, float]:
    first = batch()
    with there.device:
        stream = cuda.Stream(there.device)
        nbytes = first.number * first.row_bytes
        buffer = cuda.DeviceBuffer(there.device, nbytes)
        host = cuda.PinnedBuffer(there.device, (nbytes,), np.uint8)

        def make(one: OnGpu) -> None:
            one.queue(stream, buffer.pointer)
            stream.synchronize()

        make(first)
        stream.download(buffer, host.array)
        stream.synchronize()
        expected = on_processor()
        differs = np.abs(host.array.astype(int) - expected.ravel())
        return {
            "ms": _median_ms(lambda: make(batch()), seconds),
            "on_the_processor_ms": _median_ms(on_processor, seconds),
            "grey_levels": float(differs.max()),
            "share_that_differs": float((differs > 0).mean()),
        }


def _median_ms(work: Callable[[], object], seconds: float) -> float:
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        started = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - started))
    return cast(float, statistics.median(times))
