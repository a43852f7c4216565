"""Services on made-up engines, and a client that nobody here would call clever."""

import http.client
import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("prometheus_client", reason="needs pip install 'fer-edge[serve]'")
pytest.importorskip("httptools", reason="needs pip install 'fer-edge[serve]'")

from fer_edge.contract import FER2013, Contract
from fer_edge.pixels.boxes import Box
from fer_edge.runtime import Detection, recognizer
from fer_edge.serving import Limits, Service, Source
from tests.tiny import FakeEngine

BINARY = "Inference-Header-Content-Length"
NEAR, FAR = Box(60, 20, 80, 80), Box(5, 5, 40, 40)
FRAME = np.random.default_rng(2).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def some_faces(count: int, seed: int = 0, contract: Contract = FER2013) -> np.ndarray:
    shape = (count, *contract.face_shape)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"]


class Client:
    """One connection; asks and waits."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname, parts.port)
        self.connection = http.client.HTTPConnection(*self.address, timeout=60)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, named)
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, value: object = b"", **headers: str) -> Answer:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", path, body, **headers)

    def infer(self, faces: np.ndarray, model: str = "tiny", **members: object) -> Answer:
        """Ask in the binary form."""
        body, headers = binary_request(faces, **members)
        return self.ask("POST", f"/v2/models/{model}/infer", body, **headers)

    def probabilities(self, faces: np.ndarray, model: str = "tiny") -> np.ndarray:
        answer = self.infer(faces, model, parameters={"binary_data_output": True})
        assert answer.status == 200, answer
        length = int(answer.headers[BINARY])
        (output,) = json.loads(answer.body[:length])["outputs"]
        return np.frombuffer(answer.body[length:], "<f4").reshape(output["shape"])

    def metric(self, line: str) -> float:
        text = self.get("/metrics").body.decode()
        found = [float(row.split()[-1]) for row in text.splitlines() if row.startswith(line)]
        return sum(found)


def request_of(faces: np.ndarray, **members: object) -> dict[str, Any]:
    """A request in JSON."""
    tensor = {"name": "faces", "datatype": "UINT8", "shape": list(faces.shape)}
    return {**members, "inputs": [{**tensor, "data": faces.ravel().tolist()}]}


def binary_request(faces: np.ndarray, **members: object) -> tuple[bytes, dict[str, str]]:
    asked = request_of(faces[:0], **members)
    (tensor,) = asked["inputs"]
    del tensor["data"]
    tensor |= {"shape": list(faces.shape), "parameters": {"binary_data_size": faces.nbytes}}
    text = json.dumps(asked).encode()
    return text + faces.tobytes(), {BINARY: str(len(text))}


class Gate(FakeEngine):
    """An engine that runs only while the gate is open; says when it has begun."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.opened = threading.Event()
        self.begun = threading.Event()
        self.closed = False

    def run(self, faces: np.ndarray) -> np.ndarray:
        self.begun.set()
        assert self.opened.wait(60)
        return super().run(faces)

    def close(self) -> None:
        self.closed = True


class Served(NamedTuple):
    """A service, the engines it has opened so far, and where it listens."""

    service: Service
    engines: list[Gate]
    url: str

    @property
    def engine(self) -> Gate:
        return self.engines[-1]

    def client(self) -> Client:
        return Client(self.url)


Serve = Callable[..., Served]


def see_two(_: np.ndarray) -> list[Detection]:
    return [Detection(FAR, 0.8), Detection(NEAR, 0.9)]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a service; the gates of its engines are open unless ``gated``."""
    begun: list[Served] = []

    def start(
        *names: str,
        gated: bool = False,
        delay: float = 0.0,
        contract: Contract = FER2013,
        batch: int = 64,
        detector: Any = see_two,
        token: str | None = None,
        host: str = "127.0.0.1",
        **limits: Any,
    ) -> Served:
        engines: list[Gate] = []

        def open_engine(*_: object, **__: object) -> Gate:
            engine = Gate(delay=delay, contract=contract)
            if not gated:
                engine.opened.set()
            engines.append(engine)
            return engine

        monkeypatch.setattr(recognizer, "open_engine", open_engine)
        service = Service(
            [Source(name, batch=batch) for name in names or ("tiny",)],
            host,
            0,
            token,
            limits=Limits(**limits),
            detector=None if detector is None else lambda: detector,
        )
        begun.append(Served(service, engines, service.start()))
        return begun[-1]

    yield start
    for served in begun:
        for engine in served.engines:
            engine.opened.set()
        served.service.close()


@pytest.fixture
def client(serve: Serve) -> Iterator[Client]:
    one = serve().client()
    yield one
    # An open connection is given a second at the service's end.
    one.connection.close()


def file_of(image: np.ndarray = FRAME, kind: str = "PNG", **options: Any) -> bytes:
    """A BGR or gray image as a file."""
    stream = io.BytesIO()
    rgb = np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image)
    Image.fromarray(rgb).save(stream, kind, **options)
    return stream.getvalue()
