"""POST /faces: photos of strangers."""

import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from struct import pack

import numpy as np
import pytest
from PIL import Image

from fer_edge import EMOTIONS
from fer_edge.pixels.crops import crop_faces
from fer_edge.runtime import Detection
from tests.tiny import RGB, classify

from .services import FAR, FRAME, NEAR, Serve, file_of, some_faces
from .test_service import wait_until

JPEG = {"Content_Type": "image/jpeg"}


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "application/octet-stream"])
def test_faces_of_a_photo(serve: Serve, kind: str) -> None:
    client = serve().client()
    answer = client.post("/faces", file_of(), Content_Type=kind)
    assert answer.status == 200, answer
    told = answer.json
    assert (told["model"], told["width"], told["height"]) == ("tiny", 160, 120)
    expected = classify(crop_faces(FRAME, [FAR, NEAR]))
    scores = (0.8, 0.9)
    for face, box, score, row in zip(told["faces"], (FAR, NEAR), scores, expected, strict=True):
        assert (face["box"], face["score"]) == (list(box), score)
        assert face["emotion"] == EMOTIONS[row.argmax()]
        assert tuple(face["probabilities"]) == EMOTIONS
        found = np.array([*face["probabilities"].values()], np.float32)
        np.testing.assert_array_equal(found, row)


def test_photos_are_turned_upright(serve: Serve) -> None:
    client = serve().client()
    exif = Image.Exif()
    exif[0x0112] = 6
    told = client.post("/faces", file_of(kind="JPEG", exif=exif), **JPEG).json
    assert (told["width"], told["height"]) == (120, 160)


def test_gray_photos_and_photos_without_faces(serve: Serve) -> None:
    client = serve(detector=lambda _: []).client()
    answer = client.post("/faces", file_of(FRAME[..., 0]), Content_Type="image/png")
    assert answer.json == {"model": "tiny", "width": 160, "height": 120, "faces": []}


def test_the_model_that_a_photo_names(serve: Serve) -> None:
    served = serve("one", "two", contract=RGB)
    client = served.client()
    told = client.post("/faces?model=two", file_of(), Content_Type="image/png").json
    assert told["model"] == "two"
    assert tuple(told["faces"][0]["probabilities"]) == RGB.labels
    assert [sum(engine.batches) for engine in served.engines] == [0, 2]
    answer = client.post("/faces?model=three", file_of(), Content_Type="image/png")
    assert (answer.status, "There are: one, two" in answer.error) == (404, True)


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many black pixels in a few kilobytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data))

    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(width + 1)) for _ in range(height)) + rows.flush()
    head = pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_bomb_is_not_decoded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve().client()
    body = bomb(10_000, 10_000)
    assert len(body) < 200_000

    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "load", decoded)
        answer = client.post("/faces", body, Content_Type="image/png")
    assert answer.status == 413
    assert "100000000 pixels exceeds limit of 50000000 pixels" in answer.error
    assert client.post("/faces", file_of(), Content_Type="image/png").status == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "unknown format"),
        (b"not a photo", "unknown format"),
        (file_of(kind="JPEG")[:3000], "truncated"),
        (file_of()[:3000], "truncated"),
        (file_of(kind="JPEG")[:20], ""),
    ],
    ids=["empty", "text", "cut-jpeg", "cut-png", "head"],
)
def test_what_is_no_photo(serve: Serve, body: bytes, says: str) -> None:
    client = serve().client()
    answer = client.post("/faces", body, **JPEG)
    assert answer.status == 400
    assert answer.error.startswith("The photo cannot be read: ")
    assert says in answer.error
    assert "Give a JPEG, PNG" in answer.error


@pytest.mark.parametrize(
    ("query", "kind", "status", "says"),
    [
        ("", "text/html", 415, "Send image/*, not 'text/html'"),
        ("", "multipart/form-data; boundary=x", 415, "Send image/*"),
        ("?timeout=0", "image/png", 400, "timeout is in seconds"),
        ("?timeout=nan", "image/png", 400, "timeout is in seconds"),
        ("?timeout=soon", "image/png", 400, "timeout is in seconds"),
    ],
)
def test_what_cannot_be_meant(serve: Serve, query: str, kind: str, status: int, says: str) -> None:
    answer = serve().client().post(f"/faces{query}", file_of(), Content_Type=kind)
    assert (answer.status, says in answer.error) == (status, True), answer


def test_a_photo_without_a_detector(serve: Serve) -> None:
    client = serve(detector=None).client()
    answer = client.post("/faces", file_of(), Content_Type="image/png")
    assert answer.status == 501
    assert "pip install 'fer-edge[photos]'" in answer.error
    assert "/faces" not in client.get("/openapi.json").json["paths"]
    assert client.infer(some_faces(1)).status == 200


def test_photos_have_a_queue_and_a_deadline(serve: Serve) -> None:
    opened, begun = threading.Event(), threading.Event()

    def slow(_: np.ndarray) -> list[Detection]:
        begun.set()
        assert opened.wait(60)
        return []

    served = serve(detector=slow, photos=2)
    client = served.client()

    def ask(query: str = "") -> int:
        return served.client().post(f"/faces{query}", file_of(), Content_Type="image/png").status

    with ThreadPoolExecutor(2) as pool:
        try:
            work = [pool.submit(ask) for _ in range(2)]
            wait_until(lambda: client.metric("fer_edge_queue_photos") == 2)
            refused = client.post("/faces", file_of(), Content_Type="image/png")
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
            # Faces are another queue.
            assert client.infer(some_faces(1)).status == 200
        finally:
            opened.set()
        assert [one.result() for one in work] == [200, 200]
        opened.clear()
        assert ask("?timeout=0.1") == 504
        opened.set()
    wait_until(lambda: client.metric("fer_edge_queue_photos") == 0)
    assert ask() == 200


def test_each_thread_has_its_own_detector(serve: Serve) -> None:
    """As OpenCV's must not be called by two."""
    made: list[set[int]] = []

    class Detector:
        def __init__(self) -> None:
            self.threads: set[int] = set()
            made.append(self.threads)

        def __call__(self, _: np.ndarray) -> list[Detection]:
            self.threads.add(threading.get_ident())
            return []

    served = serve()
    assert served.service._photos is not None
    served.service._photos._make = Detector
    photo = file_of()

    def ask(_: int) -> int:
        return served.client().post("/faces", photo, Content_Type="image/png").status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(12))) == {200}
    assert made
    assert all(len(threads) == 1 for threads in made)
