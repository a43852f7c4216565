import json
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from fer_edge.errors import MissingDependencyError, OutputError, UsageError
from fer_edge.runtime.sinks import Mqtt
from tests.moments import moment, seen
from tests.runtime.capture.fakes import wait_until

pytest.importorskip("paho.mqtt.client")

CONNECT, PUBLISH = 1, 3


class Broker:
    """As much of MQTT 3.1.1 as a client that publishes at QoS 0 needs."""

    def __init__(self, answer: int = 0) -> None:
        self.answer = answer
        self.connects: list[bytes] = []
        self.published: list[tuple[str, bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                self._connection, _ = self._listener.accept()
            except OSError:
                return
            with self._connection.makefile("rb") as stream:
                while head := stream.read(1):
                    self._take(head[0] >> 4, stream.read(_length(stream)))

    def _take(self, kind: int, body: bytes) -> None:
        if kind == CONNECT:
            self.connects.append(body)
            self._connection.sendall(bytes([0x20, 2, 0, self.answer]))
        elif kind == PUBLISH:
            size = int.from_bytes(body[:2], "big")
            self.published.append((body[2 : 2 + size].decode(), body[2 + size :]))

    def drop(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _length(stream: object) -> int:
    length = shift = 0
    while True:
        byte = stream.read(1)[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return length


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.close()


@pytest.mark.parametrize(("path", "topic"), [("", "fer-edge"), ("/home/door", "home/door")])
def test_moments_are_published(broker: Broker, path: str, topic: str) -> None:
    sink = Mqtt(f"mqtt://127.0.0.1:{broker.port}{path}")
    for i in range(3):
        sink.show(moment(seen(), index=i))
    wait_until(lambda: len(broker.published) == 3)
    sink.close()
    sink.close()
    assert {name for name, _ in broker.published} == {topic}
    assert [json.loads(payload)["frame"] for _, payload in broker.published] == [0, 1, 2]


def test_user_and_password_go_to_the_broker_and_into_no_message(broker: Broker) -> None:
    Mqtt(f"mqtt://ann:s%3Acret@127.0.0.1:{broker.port}").close()
    assert broker.connects[0].endswith(b"\x00\x03ann\x00\x06s:cret")
    broker.answer = 5
    with pytest.raises(OutputError, match="does not let us in: Not authorized") as error:
        Mqtt(f"mqtt://ann:secret@127.0.0.1:{broker.port}")
    assert "ann@127.0.0.1" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_broker_that_comes_back_gets_the_news_not_the_old(broker: Broker) -> None:
    sink = Mqtt(f"mqtt://127.0.0.1:{broker.port}")
    broker.drop()
    wait_until(lambda: not sink._client.is_connected())
    sink.show(moment(index=0))
    wait_until(lambda: len(broker.connects) == 2 and sink._client.is_connected(), 10)
    sink.show(moment(index=1))
    wait_until(lambda: len(broker.published) == 1)
    sink.close()
    assert json.loads(broker.published[0][1])["frame"] == 1


def test_no_broker_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(OutputError, match="cannot be connected to"):
        Mqtt(f"mqtt://127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["http://host/topic", "mqtt://", "host", "ftp://host/t"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError, match=r"no address of an MQTT broker\. Give mqtt://host/topic"):
        Mqtt(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mqtt://host:x/t", "mqtt://host:x/t"),
        ("mqtt://[::1/t", "mqtt://[::1/t"),
        ("mqtt://ann:se/cret@host/t", "mqtt://ann@host/t"),
    ],
)
def test_addresses_that_cannot_be_read(address: str, shown: str) -> None:
    with pytest.raises(UsageError, match="%2F for /") as error:
        Mqtt(address)
    assert error.value.message == f"{shown} is no address."


def test_no_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[mqtt\]'"):
        Mqtt("mqtt://localhost")
