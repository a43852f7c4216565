import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge import EMOTIONS, Recognizer
from fer_edge.pixels.boxes import Box
from fer_edge.runtime import crop_faces
from tests.tiny import FakeEngine, classify

from .conftest import FAR, FRAME, NEAR, see_two

pytest.importorskip("fastapi", reason="needs fastapi")
pytest.importorskip("python_multipart", reason="needs python-multipart")

from fastapi.testclient import TestClient

from examples import service


def png(image: np.ndarray) -> bytes:
    """A BGR image as a file."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[..., ::-1])).save(stream, "PNG")
    return stream.getvalue()


def upload(*files: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", file) for file in files]


@pytest.fixture
def client(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    del engine
    monkeypatch.setattr(service, "RetinaFace", lambda: see_two)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # is put back
    with TestClient(service.app) as client:
        yield client


def test_faces_of_several_photos_in_their_order(client: TestClient) -> None:
    service.app.state.detector = lambda image: see_two(image) if image.shape[0] == 120 else []
    blank = np.zeros((60, 70, 3), np.uint8)
    answer = client.post("/faces", files=upload(("a.png", png(FRAME)), ("b.png", png(blank))))
    assert answer.status_code == 200, answer.text
    first, second = answer.json()
    assert second == {"name": "b.png", "width": 70, "height": 60, "faces": []}
    assert (first["name"], first["width"], first["height"]) == ("a.png", 160, 120)
    expected = classify(crop_faces(FRAME, [FAR, NEAR]))
    for face, box, row in zip(first["faces"], (FAR, NEAR), expected, strict=True):
        assert face["box"] == list(box)
        assert face["emotion"] == EMOTIONS[row.argmax()]
        assert tuple(face["probabilities"]) == EMOTIONS
        np.testing.assert_allclose([*face["probabilities"].values()], row, atol=1e-5)


def test_requests_share_batches(client: TestClient, engine: FakeEngine) -> None:
    images = [np.roll(FRAME, shift, axis=1) for shift in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda i: client.post("/faces", files=upload(("a.png", png(i)))), images)
        )
    for image, answer in zip(images, answers, strict=True):
        (photo,) = answer.json()
        found = [[*face["probabilities"].values()] for face in photo["faces"]]
        expected = classify(crop_faces(image, [FAR, NEAR]))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert sum(engine.batches) == 48
    assert max(engine.batches) > 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not an image", "unknown format. Give a JPEG, PNG, BMP or WebP"),
        (b"", "unknown format. Give a JPEG, PNG, BMP or WebP"),
        (png(FRAME)[:5000], "truncated"),
        (png(np.zeros((600, 600, 3), np.uint8)), "exceeds limit of 250000 pixels. Scale it down"),
    ],
    ids=["text", "empty", "cut", "large"],
)
def test_a_file_that_is_no_image_is_named(
    content: bytes, says: str, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 250_000)
    files = upload(("good.png", png(FRAME)), ("holiday.jpg", content))
    answer = client.post("/faces", files=files)
    assert answer.status_code == 400
    detail = answer.json()["detail"]
    assert detail.startswith("holiday.jpg: ")
    assert says in detail


def test_bodies_have_a_limit_and_must_tell_their_length(client: TestClient) -> None:
    large = bytes(service.MAX_BYTES)
    answer = client.post("/faces", files=upload(("a.png", large)))
    assert (answer.status_code, answer.json()) == (413, {"detail": "Send 20 MiB at most."})
    answer = client.post("/faces", content=iter([large]))
    assert (answer.status_code, answer.json()) == (411, {"detail": "Send Content-Length."})


def test_requests_that_cannot_be_meant(client: TestClient) -> None:
    many = upload(*[("a.png", png(FRAME))] * (service.MAX_IMAGES + 1))
    answer = client.post("/faces", files=many)
    assert answer.status_code == 422
    assert "at most 16" in answer.json()["detail"][0]["msg"]
    answer = client.post("/faces")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "images"]


def test_health_tells_what_runs(client: TestClient) -> None:
    answer = client.get("/health").json()
    expected = {"status": "ok", "backend": "fake", "precision": "fp32", "device": "none"}
    assert answer == expected


def test_the_description_is_of_use(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    post = schema["paths"]["/faces"]["post"]
    assert {"200", "400", "413", "422"} <= set(post["responses"])
    assert "multipart/form-data" in post["requestBody"]["content"]
    face = schema["components"]["schemas"]["Face"]["properties"]
    assert all("description" in field for field in face.values())
    assert client.get("/docs").status_code == 200


@pytest.fixture
def address() -> Iterator[str]:
    """Where the service listens, started as its docstring says."""
    pytest.importorskip("retinaface", reason="needs the extra camera")
    command = line_of_docstring("uvicorn")
    running = subprocess.Popen(
        [sys.executable, "-m", *command, "--port", "0"],
        cwd=Path(service.__file__).parents[1],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    found = None
    while found is None and (line := running.stderr.readline()):
        found = re.search(r"running on (http://\S+)", line)
    try:
        assert found is not None
        yield found[1]
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)


def line_of_docstring(program: str) -> list[str]:
    (line,) = re.findall(rf"^    ({program} .*)$", service.__doc__ or "", re.MULTILINE)
    return line.split()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_real_faces_as_the_docstring_starts_and_asks_the_service(
    real_photo: np.ndarray, address: str, tmp_path: Path
) -> None:
    for name in ("party.jpg", "portrait.jpg"):
        (tmp_path / name).write_bytes(png(real_photo))
    *curl, url = line_of_docstring("curl")
    url = url.replace("http://127.0.0.1:8000", address)
    done = subprocess.run([*curl, url], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    first, second = json.loads(done.stdout)
    assert (first["name"], second["name"]) == ("party.jpg", "portrait.jpg")
    assert len(first["faces"]) >= 3
    boxes = [Box(*face["box"]) for face in first["faces"]]
    with Recognizer() as recognizer:
        expected = recognizer(crop_faces(real_photo, boxes)).emotions
    assert [face["emotion"] for face in first["faces"]] == expected
