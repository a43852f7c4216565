"""Clients of serving.py besides wrk: those that compare, those among the many of the long run."""

import http.client
import io
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from fer_edge import Recognizer
from fer_edge.engines.base import Faces

FACES = 4
"""In a request."""
EVERY = 0.1
"""Seconds from one of the others to the next."""
KINDS = ("health", "metrics", "photo", "hang-up", "half a photo", "hang-up")
"""In turns, in this order."""
EXPECTED = {"health": 200, "metrics": 200, "photo": 200, "half a photo": 400}
BUSY = 429
SAMPLES = 10
"""Of memory and open files, in equal steps, besides that at the start."""


def request_of(faces: Faces) -> tuple[bytes, int]:
    """A request's body, and the length of its JSON."""
    tensor = {
        "name": "faces",
        "datatype": "UINT8",
        "shape": [len(faces), 1, 48, 48],
        "parameters": {"binary_data_size": faces.nbytes},
    }
    text = json.dumps({"inputs": [tensor]}).encode()
    return text + faces.tobytes(), len(text)


class Asking:
    """Clients that ask until they are answered, and compare with what a Recognizer said."""

    def __init__(self, port: int, data: Faces) -> None:
        with Recognizer() as recognizer:
            self._expected = recognizer(data).probabilities
        self._data = data
        self._port = port
        self._ended = threading.Event()
        self.right = self.wrong = self.again = 0
        self.newest = 0.0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=[seed]) for seed in range(8)]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _work(self, seed: int) -> None:
        chosen = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._ended.is_set():
            at = chosen.randrange(len(self._data) - FACES)
            body, length = request_of(self._data[at : at + FACES])
            headers = {"Inference-Header-Content-Length": str(length)}
            while not self._ended.is_set():
                try:
                    connection.request("POST", "/v2/models/compact/infer", body, headers)
                    answer = connection.getresponse()
                    told = json.loads(answer.read())
                except (OSError, http.client.HTTPException, ValueError):
                    connection.close()
                    with self._lock:
                        self.again += 1
                    time.sleep(0.05)
                    continue
                found = np.array(told["outputs"][0]["data"], np.float32).reshape(FACES, -1)
                right = bool((found == self._expected[at : at + FACES]).all())
                with self._lock:
                    self.right += right
                    self.wrong += not right
                    self.newest = time.monotonic()
                break


class Others:
    """Those who ask for something else meanwhile, one after the other, and some who hang up."""

    def __init__(self, port: int, path: str, body: bytes, length: int, face: Faces) -> None:
        self._port = port
        self._path = path
        self._request = body
        self._length = length
        photo = io.BytesIO()
        Image.fromarray(face.reshape(48, 48)).resize((320, 320)).save(photo, "JPEG")
        self._photo = photo.getvalue()
        self._random = random.Random(0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.counts: Counter[str] = Counter()
        """How many of each kind."""
        self.busy = 0
        """429."""
        self.wrong: Counter[str] = Counter()
        """Answers of another status than expected, or none."""

    def __enter__(self) -> "Others":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        count = 0
        while not self._ended.wait(EVERY):
            self._count(KINDS[count % len(KINDS)])
            count += 1

    def ask_each(self) -> None:
        """Once of each kind, so that the server has opened what it needs for them."""
        for kind in KINDS:
            self._count(kind)

    def _count(self, kind: str) -> None:
        try:
            status = self._ask(kind)
        except (OSError, http.client.HTTPException) as error:
            self.wrong[f"{kind}: {type(error).__name__}"] += 1
            return
        self.counts[kind] += 1
        if status == BUSY:
            self.busy += 1
        elif status != EXPECTED.get(kind):
            self.wrong[f"{kind}: {status}"] += 1

    def _ask(self, kind: str) -> int | None:
        if kind == "hang-up":
            self._hang_up()
            return None
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            if kind in ("health", "metrics"):
                connection.request("GET", "/metrics" if kind == "metrics" else "/v2/health/live")
            else:
                end = len(self._photo) // (1 if kind == "photo" else 2)
                headers = {"Content-Type": "image/jpeg"}
                connection.request("POST", "/faces", self._photo[:end], headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def _hang_up(self) -> None:
        """Ask for expressions, and go away: at some byte of the request, or after it."""
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Length: {len(self._request)}\r\n"
            f"Inference-Header-Content-Length: {self._length}\r\n\r\n"
        )
        whole = head.encode() + self._request
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as client:
            client.sendall(whole[: self._random.randrange(1, 2 * len(whole))])
            time.sleep(self._random.uniform(0, 0.1))


def in_one_go(
    seconds: float,
    ask: Callable[[float], dict[str, float]],
    others: Others,
    look: Callable[[], dict[str, float]],
) -> dict[str, Any]:
    """What ``ask`` tells of so many seconds, and ``look`` at the start, in equal steps and after.

    Parameters
    ----------
    ask : callable
        Runs the clients.
    look : callable
        Memory, files and requests of the server until now.
    """
    samples = [{"second": 0.0, **look()}]
    began = time.monotonic()
    with others, ThreadPoolExecutor(1) as pool:
        told: Future[dict[str, float]] = pool.submit(ask, seconds)
        for step in range(1, SAMPLES + 1):
            time.sleep(max(0.0, began + step * seconds / SAMPLES - time.monotonic()))
            samples.append({"second": round(time.monotonic() - began, 1), **look()})
        found = told.result()
    time.sleep(6)  # idle connections are closed after five
    samples.append({"second": round(time.monotonic() - began, 1), **look()})
    return {
        **found,
        "others": dict(others.counts),
        "others_429": others.busy,
        "others_wrong": dict(others.wrong),
        "samples": samples,
    }
