import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import fer_edge
from fer_edge.data import load_dataset
from fer_edge.errors import ArtifactError, InferenceError, InputError, ModelError, UsageError
from fer_edge.models import carried, published
from fer_edge.pixels.boxes import Box
from fer_edge.runtime import Detection, crop_faces
from fer_edge.runtime import recognizer as module
from tests.tiny import classify, tiny_artifact

FACES = np.random.default_rng(1).integers(0, 256, (150, 48, 48), dtype=np.uint8)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return tiny_artifact(tmp_path_factory.mktemp("runtime") / "build", "fp32").folder


@pytest.mark.parametrize("n", [0, 1, 7, 64, 150])
@pytest.mark.parametrize(
    ("batch", "limits"), [(64, (1, None)), (1, (1, None)), (64, (8, 8)), (64, (4, 32))]
)
def test_any_number_of_faces_is_split_and_padded(fake, n, batch, limits):
    engine, recognizer = fake(batch, min_batch=limits[0], max_batch=limits[1])
    prediction = recognizer(FACES[:n])
    assert prediction.probabilities.shape == (n, 7)
    assert prediction.probabilities.dtype == np.float32
    np.testing.assert_allclose(prediction.probabilities, classify(FACES[:n]), atol=1e-5)
    assert max(engine.batches, default=0) <= min(batch, limits[1] or batch)


def test_onnx_runtime_gives_what_the_graph_says(artifact):
    with fer_edge.Recognizer(artifact) as recognizer:
        probabilities = recognizer(FACES).probabilities
        assert recognizer.describe().backend == "onnxruntime-cpu"
    np.testing.assert_allclose(probabilities, classify(FACES), atol=1e-5)


def test_a_prediction_names_emotions():
    probabilities = np.array([[0, 0, 0, 0.75, 0.25, 0, 0], [1, 0, 0, 0, 0, 0, 0]], np.float32)
    prediction = module.Prediction(probabilities)
    assert len(prediction) == 2
    assert prediction.labels.dtype == np.int64
    assert prediction.labels.tolist() == [3, 0]
    assert prediction.emotions == ["happy", "angry"]
    assert list(prediction) == [("happy", 0.75), ("angry", 1.0)]


def test_an_empty_prediction_has_no_emotions(fake):
    prediction = fake()[1]([])
    assert (len(prediction), prediction.emotions, list(prediction)) == (0, [], [])
    assert prediction.labels.shape == (0,)


def test_images_are_read_in_the_order_of_colours_stated(fake):
    _, recognizer = fake()
    image = np.random.default_rng(2).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    rgb = recognizer([image]).probabilities
    np.testing.assert_array_equal(recognizer([image[..., ::-1]], color="bgr").probabilities, rgb)
    assert not np.array_equal(recognizer([image], color="bgr").probabilities, rgb)
    with pytest.raises(InputError, match="Image 1"):
        recognizer([image, image.astype(float)])


def test_threads_share_one_recognizer(artifact):
    with fer_edge.Recognizer(artifact, batch=16) as recognizer, ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(recognizer, [FACES[at:] for at in range(16)]))
    for at, part in enumerate(parts):
        np.testing.assert_allclose(part.probabilities, classify(FACES[at:]), atol=1e-5)


def test_close_is_final_and_may_be_repeated(artifact):
    with fer_edge.Recognizer(artifact) as recognizer:
        recognizer.close()
    with pytest.raises(InferenceError, match="closed"):
        recognizer(FACES)


def test_batch_0_is_a_usage_error():
    with pytest.raises(UsageError, match="batch must be at least 1, got 0"):
        module.Recognizer("anything", batch=0)


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere"):
        module.Recognizer(tmp_path / "nowhere")


def test_no_model_means_the_carried_compact(artifact, monkeypatch, tmp_path):
    monkeypatch.setattr(carried, "FOLDER", tmp_path)
    # Others may be installed here.
    monkeypatch.setattr(published, "entry_points", lambda **_: ())
    with pytest.raises(ModelError, match=r"no model .compact.,.* models: none"):
        module.Recognizer()
    (tmp_path / "compact").symlink_to(artifact)
    with module.Recognizer() as recognizer:
        assert len(recognizer(FACES[0])) == 1
    with pytest.raises(ModelError, match=r"'large' \(it carries: compact\)"):
        carried.carried_model("large")


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_a_prediction_needs_neither_torch_nor_onnx(artifact):
    loaded = modules_after(
        "import numpy, fer_edge\n"
        f"fer_edge.Recognizer({str(artifact)!r})(numpy.zeros((2, 48, 48), numpy.uint8))"
    )
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "torchvision", "onnx", "onnxscript", "matplotlib", "rich"}


def test_import_fer_edge_loads_nothing_heavy():
    assert not modules_after("import fer_edge") & {"numpy", "onnxruntime", "PIL", "pydantic"}


def test_the_package_names_what_it_has():
    assert fer_edge.Recognizer is module.Recognizer
    assert set(fer_edge.__all__) <= set(dir(fer_edge))
    with pytest.raises(AttributeError, match="Recogniser"):
        _ = fer_edge.Recogniser


def test_threads_share_batches(fake):
    engine, recognizer = fake()
    with recognizer, ThreadPoolExecutor(8) as pool:
        parts = [FACES[i : i + 2] for i in range(64)]
        found = list(pool.map(lambda part: recognizer.submit(part).result(10), parts))
    for part, prediction in zip(parts, found, strict=True):
        np.testing.assert_allclose(prediction.probabilities, classify(part), atol=1e-5)
    assert len(engine.batches) < 64


def test_a_buffer_may_be_used_again_once_its_faces_are_handed_in(fake):
    engine, recognizer = fake(delay=0.3)
    buffer = FACES[:2].copy()
    with recognizer:
        recognizer.submit(FACES)
        while not engine.batches:
            time.sleep(0.001)
        waiting = recognizer.submit(buffer)  # The engine is busy, and reads it later.
        buffer[:] = 0
        found = waiting.result(10)
    np.testing.assert_allclose(found.probabilities, classify(FACES[:2]), atol=1e-5)


def test_handing_in_no_faces_answers_as_a_call_does(fake):
    engine, recognizer = fake()
    with recognizer:
        prediction = recognizer.submit(FACES[:0]).result(0)
    assert prediction.probabilities.shape == (0, 7)
    assert prediction.emotions == []
    assert engine.batches == []


def test_a_closed_recognizer_takes_no_more(fake):
    _, recognizer = fake()
    recognizer.close()
    with pytest.raises(InferenceError, match="closed"):
        recognizer.submit(FACES[:1])


PHOTO = np.random.default_rng(4).integers(0, 256, (90, 120, 3), dtype=np.uint8)
BOXES = [Box(5, 10, 40, 50), Box(60, 20, 30, 30)]


def two(image):
    assert image.shape[:2] == PHOTO.shape[:2]
    return [Detection(box, 0.9) for box in BOXES]


@pytest.mark.parametrize(
    ("image", "color", "bgr"),
    [
        (PHOTO, "rgb", PHOTO[..., ::-1]),
        (PHOTO, "bgr", PHOTO),
        (PHOTO[..., 0], "rgb", PHOTO[..., 0]),
    ],
)
def test_faces_in_a_photo(fake, image, color, bgr):
    engine, recognizer = fake()
    seen = []
    with recognizer:
        faces = recognizer.find(
            image, detector=lambda frame: seen.append(frame) or two(frame), color=color
        )
    np.testing.assert_array_equal(seen[0], bgr)
    expected = classify(crop_faces(bgr, BOXES))
    for n, (face, row) in enumerate(zip(faces, expected, strict=True)):
        assert (face.track, face.box, face.score, face.seen) == (n, BOXES[n], 0.9, True)
        assert face.label == row.argmax()
        np.testing.assert_allclose(face.probabilities, row, atol=1e-5)
        np.testing.assert_array_equal(face.raw, face.probabilities)
    assert engine.batches == [2]


def test_a_photo_without_faces(fake):
    engine, recognizer = fake()
    with recognizer:
        assert recognizer.find(PHOTO, detector=lambda _: []) == []
    assert engine.batches == []
    with pytest.raises(InferenceError, match="closed"):
        recognizer.find(PHOTO, detector=lambda _: [])


@pytest.mark.parametrize(
    ("image", "options", "error", "says"),
    [
        (PHOTO / 255, {}, InputError, "The image must be uint8, got float64"),
        (PHOTO[..., :1], {}, InputError, "must have shape"),
        ("photo.jpg", {}, InputError, "must be a numpy array, got str"),
        (PHOTO, {"color": "hsv"}, UsageError, "Unknown colour order 'hsv'"),
        (PHOTO, {"detector": lambda _: None}, InputError, "The detector gave NoneType"),
    ],
)
def test_what_is_no_photo(fake, image, options, error, says):
    with pytest.raises(error, match=says):
        fake()[1].find(image, **({"detector": two} | options))


def test_the_default_detector_finds_real_faces(fake, fer2013):
    pytest.importorskip("retinaface", reason="needs the extra camera")
    face = Image.fromarray(load_dataset(fer2013, "val").faces[0]).resize((160, 160))
    photo = np.full((480, 640), 127, np.uint8)
    photo[100:260, 200:360] = face
    (found,) = fake()[1].find(photo)
    assert 180 < found.box.x < 300


def test_batches_are_told_of(fake):
    told = []
    engine, _ = fake(delay=0.01)
    with module.Recognizer("any.onnx", batch=8, on_batch=lambda *one: told.append(one)) as several:
        several(np.zeros((5, 48, 48), np.uint8))
        several.submit(np.zeros((3, 48, 48), np.uint8)).result(10)
        several([])
    assert [faces for faces, _ in told] == [5, 3] == engine.batches
    assert all(seconds >= 0.01 for _, seconds in told)
