"""What tests show, and who looks at it."""

import json
import socket
import struct
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from fer_edge.contract import EMOTIONS
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture import Frame
from fer_edge.runtime.moment import Moment, SeenFace

client = pytest.importorskip("websockets.sync.client", reason="needs the extra web")

IMAGE = np.random.default_rng(5).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def moment(
    index: int = 0,
    source: str = "door",
    *,
    emotions: tuple[str, ...] = ("happy",),
    image: np.ndarray = IMAGE,
    classes: tuple[str, ...] = EMOTIONS,
) -> Moment:
    """One face for each emotion, 79 % sure."""
    faces = []
    for track, emotion in enumerate(emotions):
        shares = np.full(len(classes), 0.21 / (len(classes) - 1), np.float32)
        label = classes.index(emotion)
        shares[label] = 0.79
        box = Box(20 + 60 * track, 30, 40, 50)
        faces.append(SeenFace(track, box, 0.9, label, shares, shares, classes=classes))
    now = time.monotonic()
    return Moment(Frame(image, now - 0.025, index, source), faces, now, classes=classes)


def unreading_viewer(url: str) -> socket.socket:
    """Asks for everything, reads nothing of it, and does not answer when it is told goodbye."""
    parts = urlsplit(url)
    stuck = socket.create_connection((parts.hostname, parts.port))
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(
        f"GET /live HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += stuck.recv(1)
    text = b'{"see":null}'
    stuck.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)  # masked by zeros
    return stuck


class Viewer:
    """Speaks as the page's script does. A context manager."""

    def __init__(self, url: str, see: list[str] | None = None, **options: Any) -> None:
        address = url.replace("http", "ws", 1).replace("/?", "/live?")
        address = address if "?" in address else f"{address}live"
        self._stack = ExitStack()
        self.socket = self._stack.enter_context(
            client.connect(address, max_size=None, compression=None, close_timeout=0.1, **options)
        )
        self.socket.send(json.dumps({"see": see}))

    def next(self) -> dict[str, Any] | bytes:
        """The next message; says that it has been dealt with."""
        message = self.socket.recv(timeout=10)
        self.socket.send("next")
        return json.loads(message) if isinstance(message, str) else message

    def told(self, key: str) -> Any:
        """What the next JSON that has the key says."""
        while True:
            message = self.next()
            if isinstance(message, dict) and key in message:
                return message[key]

    def moment(self) -> tuple[dict[str, Any], bytes]:
        """Facts and JPEG of the next moment."""
        while True:
            message = self.next()
            if isinstance(message, bytes):
                (length,) = struct.unpack_from("<I", message)
                return json.loads(message[4 : 4 + length]), message[4 + length :]

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
