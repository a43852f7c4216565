import shutil
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.data import load_dataset
from fer_edge.detection import RetinaFace, retinaface
from fer_edge.engines.processor import available_cores
from fer_edge.errors import ArtifactError, InputError, UsageError
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.tracking import iou

from .graphs import SMALL, WIDE, tiny_detector


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_detector(tmp_path / "detector", SMALL, WIDE).folder


def test_a_face_is_told_once_with_its_score_and_points(tiny: Path) -> None:
    found = RetinaFace(tiny, min_score=0.5)(np.zeros((48, 64, 3), np.uint8))
    assert [one.box for one in found] == [Box(8, 4, 20, 20), Box(40, 20, 20, 20)]
    assert [one.score for one in found] == pytest.approx([0.9, 0.6])
    assert found[0].landmarks == ((8.0, 4.0),) * 5
    assert len(RetinaFace(tiny)(np.zeros((48, 64, 3), np.uint8))) == 1


@pytest.mark.parametrize("shape", [(96, 128, 3), (96, 128), (960, 1280, 3), (97, 130), (3, 5, 3)])
def test_boxes_are_in_pixels_of_the_frame(tiny: Path, shape: tuple[int, ...]) -> None:
    (found,) = RetinaFace(tiny)(np.zeros(shape, np.uint8))
    size = WIDE if shape[0] > 48 else SMALL
    scale = min(size.width / shape[1], size.height / shape[0], 1)
    assert tuple(found.box) == pytest.approx([value / scale for value in (8, 4, 20, 20)])


def test_a_smaller_size_takes_the_smaller_graph(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    run = retinaface.DetectorEngine.run

    def noted(self: retinaface.DetectorEngine, frames: np.ndarray) -> object:
        sizes.append(frames.shape)
        return run(self, frames)

    monkeypatch.setattr(retinaface.DetectorEngine, "run", noted)
    frame = np.zeros((480, 640, 3), np.uint8)
    for size, shape in ((640, (1, 96, 128, 3)), (64, (1, 48, 64, 3))):
        RetinaFace(tiny, size=size)(frame)
        assert sizes.pop() == shape


def test_calls_beside_one_another_take_a_core_each(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet = threading.Barrier(2, timeout=30)
    threads: list[int | None] = []
    shared = retinaface._shared.engine

    def noted(artifact: object, bucket: object, number: int | None, **options: str) -> object:
        threads.append(number)
        if len(threads) > 1:
            meet.wait()
        return shared(artifact, bucket, number, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(retinaface._shared, "engine", noted)
    detector = RetinaFace(tiny)
    frame = np.zeros((48, 64, 3), np.uint8)
    alone = detector(frame)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(detector, [frame, frame])) == [alone, alone]
    assert sorted(threads, key=str) == [1, None, None]
    assert detector.at_once == min(available_cores(), 8)
    assert RetinaFace(tiny, threads=1).at_once == 1


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (np.full((48, 64, 3), np.nan), "The frame must be uint8, got float64"),
        (np.zeros((48, 64, 4), np.uint8), "The frame has four channels"),
        (np.zeros((0, 64, 3), np.uint8), "a pixel at least"),
        (np.zeros((2, 48, 64, 3), np.uint8), "which is several images"),
        ([[1, 2], [3, 4]], "The frame must be a numpy array, got list"),
    ],
)
def test_what_is_no_frame(tiny: Path, frame: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        RetinaFace(tiny)(frame)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 10}, "10 pixels is too small"),
        ({"size": 10_000}, "10000 pixels is too large"),
        ({"min_score": 1.5}, "A least score of 1.5 is not from 0 to 1"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_meant(tiny: Path, options: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        RetinaFace(tiny, **options)


def test_a_damaged_artifact_costs_one_line(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"There is no .*nowhere"):
        RetinaFace(tmp_path / "nowhere")
    (tiny / "64x48.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="does not match the hash in the manifest"):
        RetinaFace(tiny)(np.zeros((48, 64, 3), np.uint8))
    (tiny / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="is damaged"):
        RetinaFace(tiny)


def test_a_folder_that_is_made_anew_is_opened_anew(tmp_path: Path) -> None:
    folder, frame = tmp_path / "detector", np.zeros((48, 64, 3), np.uint8)
    tiny_detector(folder, SMALL)
    assert len(RetinaFace(folder)(frame)) == 1
    shutil.rmtree(folder)
    tiny_detector(folder, SMALL, faces=[])
    assert RetinaFace(folder)(frame) == []


def test_neither_opencv_nor_the_package_of_the_weights_is_needed_to_run(tiny: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('cv2', 'retinaface', 'onnx', 'torch'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from fer_edge.runtime import RetinaFace, Recognizer\n"
        f"print(len(RetinaFace({str(tiny)!r})(np.zeros((480, 640, 3), np.uint8))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")


def large_faces(fer2013: Path, number: int, side: int) -> list[np.ndarray]:
    faces = load_dataset(fer2013, "val").faces[: number * 10 : 10]
    return [
        np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC))
        for face in faces
    ]


@pytest.mark.usefixtures("made_detector")
def test_real_faces_are_found_where_they_are(fer2013: Path) -> None:
    frame = np.full((480, 640, 3), 127, np.uint8)
    places = [(60 + 300 * (i % 2), 30 + 220 * (i // 2)) for i in range(4)]
    for face, (x, y) in zip(large_faces(fer2013, 4, 160), places, strict=True):
        frame[y : y + 160, x : x + 160] = face[..., None]
    found = RetinaFace()(frame)
    hits = [one for one in found for x, y in places if iou(one.box, Box(x, y, 160, 160)) > 0.3]
    assert len(hits) >= 3
    for one in hits:
        x, y, width, height = one.box
        assert all(x < px < x + width and y < py < y + height for px, py in one.landmarks)
    assert len(RetinaFace()(frame[..., 0])) == len(found)


@pytest.mark.usefixtures("made_detector")
def test_fifty_faces(fer2013: Path) -> None:
    frame = np.full((800, 1600, 3), 127, np.uint8)
    for i, face in enumerate(large_faces(fer2013, 50, 120)):
        x, y = 20 + 158 * (i % 10), 20 + 155 * (i // 10)
        frame[y : y + 120, x : x + 120] = face[..., None]
    found = RetinaFace(size=1600)(frame)
    assert 40 <= len(found) <= 50


@pytest.mark.usefixtures("made_detector")
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (33, 77, 3), (479, 641), (4320, 7680, 3)])
def test_noise_of_any_size_gives_no_warning(
    shape: tuple[int, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(RetinaFace()(noise)) <= 1
    assert "overflow" not in capfd.readouterr().err
