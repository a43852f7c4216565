import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fer_edge.data import load_dataset
from fer_edge.errors import InputError, MissingDependencyError, ModelError, UsageError
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.detection import Detection, RetinaFace, YuNet, detect
from fer_edge.runtime.tracking import iou


class FakeDetector:
    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def detect_faces(self, image: np.ndarray, score_threshold: float) -> list[SimpleNamespace]:
        self.seen.append(image)
        return [SimpleNamespace(x=10, y=20, width=30, height=40, score=score_threshold)]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDetector:
    detector = FakeDetector()
    monkeypatch.setitem(sys.modules, "retinaface", detector)
    return detector


def test_large_frames_are_scaled_down_and_boxes_scaled_back(fake: FakeDetector) -> None:
    (found,) = RetinaFace(size=640)(np.zeros((720, 1280, 3), np.uint8))
    assert fake.seen[0].shape == (360, 640, 3)
    assert tuple(found.box) == (20, 40, 60, 80)


def test_small_frames_are_shown_as_they_are_in_rgb(fake: FakeDetector) -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[..., 0] = 7
    RetinaFace()(frame)
    assert fake.seen[0].shape == frame.shape
    assert fake.seen[0][0, 0].tolist() == [0, 0, 7]


def test_a_size_that_cannot_be_meant(fake: FakeDetector) -> None:
    with pytest.raises(UsageError, match="10 pixels"):
        RetinaFace(size=10)
    assert not fake.seen


@pytest.mark.parametrize(
    ("module", "make"), [("retinaface", RetinaFace), ("cv2", lambda: YuNet("yunet.onnx"))]
)
def test_packages_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, module: str, make: type
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"fer-edge\[camera\]"):
        make()


def test_an_opencv_that_is_older_than_the_detector_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("retinaface")
    monkeypatch.delattr(cv2, "IMREAD_COLOR_RGB", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "retinaface"]:
        monkeypatch.delitem(sys.modules, name)
    assert RetinaFace()(np.zeros((64, 64, 3), np.uint8)) == []


def test_yunet_files_that_are_none(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(ModelError, match="no file"):
        YuNet(tmp_path / "yunet.onnx")
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a model that OpenCV finds faces with"):
        YuNet(tmp_path / "a.onnx")


def test_real_faces_are_found_where_they_are(fer2013: Path) -> None:
    pytest.importorskip("retinaface")
    faces = load_dataset(fer2013, "val").faces[:400:100]
    detector = RetinaFace()
    frame = np.full((480, 640, 3), 127, np.uint8)
    places = [(60 + 300 * (i % 2), 30 + 220 * (i // 2)) for i in range(4)]
    for face, (x, y) in zip(faces, places, strict=True):
        large = np.asarray(Image.fromarray(face).resize((160, 160), Image.Resampling.BICUBIC))
        frame[y : y + 160, x : x + 160] = large[..., None]
    found = detector(frame)
    hits = [
        any(iou(one.box, one.box._replace(x=x, y=y, width=160, height=160)) > 0.3 for one in found)
        for x, y in places
    ]
    assert sum(hits) >= 3


def test_the_detectors_threads_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    retinaface = pytest.importorskip("retinaface")
    monkeypatch.setattr(retinaface, "ONNX_SESSION", None)
    RetinaFace()
    options = retinaface.ONNX_SESSION.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


BOX = Box(1, 2, 30, 40)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "gave NoneType in the place of a list"),
        (np.zeros((2, 5)), "gave ndarray in the place of a list"),
        ([(1, 2, 30, 40, 0.9)], "gave tuple in the place of a Detection"),
        ([Detection((1, 2, 30, 40), 0.9)], "gave tuple in the place of a Box"),
        ([Detection(BOX._replace(width=0), 0.9)], r"a box without an area, \(1, 2, 0, 40\)"),
        ([Detection(BOX, 0.9), Detection(BOX._replace(x=np.nan), 0.9)], "without an area"),
    ],
)
def test_a_detector_that_gives_something_else(found: object, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        detect(lambda _: found, np.zeros((90, 120), np.uint8))
    assert "It must return [Detection(Box(x, y, width, height), score)" in str(error.value)


def test_a_tuple_of_detections_will_do() -> None:
    assert detect(lambda _: (Detection(BOX, 0.9),), np.zeros((9, 9), np.uint8)) == [
        Detection(BOX, 0.9)
    ]
