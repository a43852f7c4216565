"""A service under load, at its limits and at its end."""

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("httptools", reason="needs pip install 'fer-edge[serve]'")

from fer_edge.errors import EngineLoadError, InferenceError, ServingError, UsageError
from fer_edge.runtime import recognizer
from fer_edge.serving import Limits, Service, Source, connection
from tests.tiny import classify

from .services import Gate, Serve, Served, binary_request, some_faces

PATIENCE = 30.0
"""Seconds that a busy machine may take for what is immediate."""


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def raw(served: Served) -> Iterator[socket.socket]:
    """A connection whose client does as it likes."""
    with socket.create_connection(served.client().address, timeout=PATIENCE) as one:
        yield one


def request_bytes(faces: np.ndarray, **members: object) -> bytes:
    body, headers = binary_request(faces, **members)
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\n{''.join(lines)}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def busy(served: Served) -> Iterator[None]:
    """The engine is at work until the context's end, and then all is answered."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.client().infer, some_faces(1, seed=99))
        assert served.engine.begun.wait(PATIENCE)
        try:
            yield
        finally:
            served.engine.opened.set()
        assert first.result().status == 200


def test_requests_share_batches(serve: Serve) -> None:
    served = serve(delay=0.01)

    def ask(seed: int) -> None:
        client, faces = served.client(), some_faces(4, seed)
        for _ in range(5):
            np.testing.assert_array_equal(client.probabilities(faces), classify(faces))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))
    batches = served.engine.batches
    assert sum(batches) == 16 * 5 * 4
    assert max(batches) > 16
    client = served.client()
    assert client.metric('fer_edge_batch_faces_sum{model="tiny"}') == sum(batches)
    assert client.metric('fer_edge_batch_faces_count{model="tiny"}') == len(batches)


def test_large_requests_let_others_take_their_turn(serve: Serve) -> None:
    served = serve(gated=True, batch=8)
    large, small = some_faces(40), some_faces(2, seed=1)
    with ThreadPoolExecutor(2) as pool:
        with busy(served):
            first = pool.submit(served.client().probabilities, large)
            wait_until(lambda: served.service.models["tiny"].waiting == 41)
            second = pool.submit(served.client().probabilities, small)
            wait_until(lambda: served.service.models["tiny"].waiting == 43)
        np.testing.assert_array_equal(first.result(), classify(large))
        np.testing.assert_array_equal(second.result(), classify(small))
    assert served.engine.batches == [1, 8, 2, 8, 8, 8, 8]


def test_a_full_queue_is_told_at_once(serve: Serve) -> None:
    served = serve(gated=True, queue=8)
    with ThreadPoolExecutor(1) as pool:
        with busy(served):
            fits = pool.submit(served.client().infer, some_faces(7))
            wait_until(lambda: served.service.models["tiny"].waiting == 8)
            client = served.client()
            for _ in range(3):
                refused = client.infer(some_faces(1))
                assert refused.status == 429
                assert int(refused.headers["Retry-After"]) >= 1
                assert refused.error == "8 faces wait for tiny, of 8 at most. Try again."
            assert client.metric('fer_edge_queue_faces{model="tiny"}') == 8
        assert fits.result().status == 200
    assert client.infer(some_faces(1)).status == 200
    assert client.metric('fer_edge_dropped_total{model="tiny",reason="queue_full"}') == 3


def test_ten_thousand_faces_in_a_request(serve: Serve) -> None:
    served = serve()
    client = served.client()
    answer = client.infer(some_faces(10_000))
    assert answer.status == 413
    assert answer.error == "10000 faces in one request; this server takes 512. Send them in parts."
    faces = some_faces(512)
    np.testing.assert_array_equal(client.probabilities(faces), classify(faces))
    assert sum(served.engine.batches) == 512


def test_a_deadline_gives_up_what_waits(serve: Serve) -> None:
    served = serve(gated=True)
    client = served.client()
    with busy(served):
        began = time.monotonic()
        answer = client.infer(some_faces(5), parameters={"timeout": 100_000})
        assert 0.1 <= time.monotonic() - began < PATIENCE
        assert (answer.status, answer.error) == (504, "There was no answer in the time given.")
    assert client.infer(some_faces(2)).status == 200
    # The five were not computed for nobody.
    assert served.engine.batches == [1, 2]
    assert client.metric('fer_edge_dropped_total{model="tiny",reason="deadline"}') == 1
    assert served.service.models["tiny"].waiting == 0


def test_the_service_has_a_deadline_of_its_own(serve: Serve) -> None:
    served = serve(gated=True, timeout=0.5)
    client = served.client()
    assert client.infer(some_faces(1)).status == 504
    assert client.infer(some_faces(1), parameters={"timeout": 60_000_000}).status == 504


def test_a_client_that_hangs_up_is_given_up(serve: Serve) -> None:
    served = serve(gated=True)
    model = served.service.models["tiny"]
    with busy(served):
        with raw(served) as gone:
            gone.sendall(request_bytes(some_faces(5)))
            wait_until(lambda: model.waiting == 6)
        wait_until(lambda: model.waiting == 1)
    client = served.client()
    assert client.infer(some_faces(2)).status == 200
    assert served.engine.batches == [1, 2]
    assert client.metric('fer_edge_dropped_total{model="tiny",reason="client_gone"}') == 1


def test_hanging_up_amid_a_body_harms_nobody(serve: Serve) -> None:
    served = serve()
    for _ in range(5):
        with raw(served) as gone:
            gone.sendall(request_bytes(some_faces(5))[:-100])
    client = served.client()
    assert client.infer(some_faces(2)).status == 200
    wait_until(
        lambda: client.metric('fer_edge_dropped_total{model="tiny",reason="client_gone"}') == 5
    )
    assert served.engine.batches == [2]


def test_a_slow_reader_holds_up_nobody_and_is_let_go(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_PATIENCE", 1.0)
    served = serve()
    client = served.client()
    with raw(served) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
        # Until neither side's buffers have taken any more for half a second.
        rest, moved = memoryview(asked), time.monotonic()
        with suppress(ConnectionError):  # let go already
            while time.monotonic() < moved + 0.5:
                with suppress(BlockingIOError):
                    rest = rest[slow.send(rest) :] or memoryview(asked)
                    moved = time.monotonic()
                time.sleep(0.001)
        for _ in range(20):
            began = time.monotonic()
            assert client.infer(some_faces(2)).status == 200
            assert time.monotonic() - began < 5
        broken = select.poll()
        broken.register(slow, 0)
        assert broken.poll(1e3 * PATIENCE)


@pytest.mark.parametrize("sent", [b"", b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: loc"])
def test_a_head_that_never_ends(serve: Serve, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connection, "_PATIENCE", 0.2)
    served = serve()
    client = served.client()
    with raw(served) as slow:
        slow.sendall(sent)
        # Others, and the one whose connection rests between two requests, are not touched.
        assert client.infer(some_faces(1)).status == 200
        with suppress(ConnectionResetError):
            assert slow.recv(1) == b""
    assert client.infer(some_faces(1)).status == 200


def test_a_body_that_never_ends(serve: Serve) -> None:
    served = serve(timeout=0.5)
    with raw(served) as slow:
        slow.sendall(request_bytes(some_faces(2))[:-10])
        answer = b"".join(iter(lambda: slow.recv(10_000), b""))
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not come within 0.5 s" in answer


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_have_a_limit(serve: Serve, chunked: bool) -> None:
    served = serve(megabytes=0.1)
    client = served.client()
    body = bytes(300_000)
    if chunked:
        sent: object = iter([body[:150_000], body[150_000:]])
        client.connection.request("POST", "/v2/models/tiny/infer", sent, encode_chunked=True)
        response = client.connection.getresponse()
        status, told = response.status, json.loads(response.read())
    else:
        answer = client.post("/v2/models/tiny/infer", body)
        status, told = answer.status, answer.json
    assert status == 413
    assert told == {"error": "The body is larger than 0.1 MB, the most taken here."}
    assert client.infer(some_faces(2)).status == 200


def test_a_body_beyond_all_measure_is_not_waited_for(serve: Serve) -> None:
    served = serve(megabytes=0.1)
    with raw(served) as one:
        one.sendall(
            b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 1000000000000\r\n\r\nabc"
        )
        assert one.recv(10_000).startswith(b"HTTP/1.1 413")


def test_large_bodies_have_a_limit_together(serve: Serve) -> None:
    served = serve(megabytes=0.1)
    head = (
        b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99000\r\n\r\n"
    )
    slow = [socket.create_connection(served.client().address) for _ in range(10)]
    for one in slow:
        one.settimeout(PATIENCE)
        one.sendall(head + bytes(98_000))
    answers = [one.recv(10_000) for one in slow[8:]]
    assert all(answer.startswith(b"HTTP/1.1 429") for answer in answers), answers
    for one in slow:
        one.close()
    client = served.client()
    wait_until(lambda: client.post("/v2/repository/index", bytes(99_000)).status == 200)


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (InferenceError("The GPU is gone.", hint="Start again."), "The GPU is gone. Start again."),
        (ValueError("oops"), "This request failed: ValueError. The server's log says more."),
    ],
)
def test_a_failing_engine_fails_its_request_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, failure: Exception, says: str
) -> None:
    served = serve()
    client = served.client()

    def fail(_: np.ndarray) -> np.ndarray:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(served.engine, "run", fail)
        answer = client.infer(some_faces(1))
        assert (answer.status, answer.error) == (500, says)
    assert client.infer(some_faces(1)).status == 200


def test_reloading_drops_nothing(serve: Serve) -> None:
    served = serve(delay=0.005)
    done = threading.Event()

    def ask(seed: int) -> int:
        client, faces, count = served.client(), some_faces(3, seed), 0
        while not done.is_set():
            np.testing.assert_array_equal(client.probabilities(faces), classify(faces))
            count += 1
        return count

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(ask, seed) for seed in range(6)]
        client = served.client()
        try:
            for _ in range(5):
                assert client.post("/v2/repository/models/tiny/load", {}).status == 200
                time.sleep(0.05)
        finally:
            done.set()
        assert min(one.result() for one in work) > 2
    assert len(served.engines) == 6
    wait_until(lambda: [engine.closed for engine in served.engines] == [True] * 5 + [False])
    assert all(engine.batches for engine in served.engines[:5])
    assert client.metric('fer_edge_model_loads_total{model="tiny",outcome="loaded"}') == 6


def test_a_request_ends_on_the_model_it_began_on(serve: Serve) -> None:
    served = serve(gated=True)
    with busy(served):
        assert served.client().post("/v2/repository/models/tiny/load").status == 200
        first, second = served.engines
        assert not first.closed
        first.opened.set()
        wait_until(lambda: first.closed)
    assert (first.batches, second.batches) == ([1], [])


def test_a_model_that_cannot_be_loaded_stays_as_it_is(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve()
    client = served.client()

    def damaged(*_: object, **__: object) -> Gate:
        raise EngineLoadError("fp32.onnx is damaged.", hint="Export it again.")

    monkeypatch.setattr(recognizer, "open_engine", damaged)
    answer = client.post("/v2/repository/models/tiny/load", b"")
    assert answer.status == 400
    assert answer.error == (
        "tiny cannot be loaded, and stays as it is. fp32.onnx is damaged. Export it again."
    )
    assert client.infer(some_faces(2)).status == 200
    assert client.metric('fer_edge_model_loads_total{model="tiny",outcome="failed"}') == 1
    for body in (b"[]", b"{", b'{"parameters": {"config": "{}"}}'):
        assert client.post("/v2/repository/models/tiny/load", body).status == 400


def test_the_end_answers_what_was_accepted(serve: Serve) -> None:
    served = serve(gated=True)
    resting = served.client()
    assert resting.get("/v2/health/ready").status == 200
    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(served.client().infer, some_faces(3, seed)) for seed in range(4)]
        wait_until(lambda: served.service.models["tiny"].waiting == 12)
        end = pool.submit(served.service.close)
        # A connection that was open learns that it was its last answer.
        wait_until(lambda: resting.get("/v2/health/ready").status == 503)
        with pytest.raises(ConnectionRefusedError):
            served.client().get("/v2/health/live")
        time.sleep(1.5)
        assert not end.done()
        served.engine.opened.set()
        for one in work:
            answer = one.result()
            assert answer.status == 200
            assert answer.headers["Connection"] == "close"
        end.result()
    assert served.engine.closed


def test_thousands_of_requests_leave_nothing_behind(serve: Serve) -> None:
    served = serve()

    def files() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    def ask(seed: int, times: int) -> None:
        client, faces = served.client(), some_faces(2, seed)
        for turn in range(times):
            assert client.infer(faces).status == 200
            if turn % 20 == 0:
                assert client.post("/v2/models/tiny/infer", b"{}").status == 400
                with raw(served) as gone:
                    gone.sendall(request_bytes(faces)[: turn * 50])
                client = served.client()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4), [50] * 4))
        wait_until(lambda: served.service.models["tiny"].waiting == 0)
        before, sources = files(), _queues(served)
        list(pool.map(ask, range(4), [750] * 4))
    # A connection that is being closed may still count.
    wait_until(lambda: files() <= before + 2)
    wait_until(lambda: served.service.models["tiny"].waiting == 0)
    assert _queues(served) <= sources + 4


def _queues(served: Served) -> int:
    """Sources that the batcher still knows."""
    return len(served.service.models["tiny"].current.recognizer._batcher._queues)


def test_who_may_come_in(serve: Serve) -> None:
    local = serve().client()
    for headers in (
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://[x"},
    ):
        answer = local.get("/v2/models/tiny", **headers)
        assert answer.status == 403
        assert "Start it with --token" in answer.error
    # Probes come from elsewhere and learn nothing.
    assert local.get("/v2/health/live", Host="10.0.0.7:8000").status == 200

    guarded = serve(token="secret").client()
    assert guarded.get("/v2/health/ready").status == 200
    for path in ("/v2", "/v2/models/tiny", "/metrics", "/openapi.json"):
        refused = guarded.get(path)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert guarded.get(path, Authorization="Bearer wrong").status == 401
        assert guarded.get(path, Authorization="bearer secret", Host="far").status == 200
        assert guarded.get(f"{path}?token=secret").status == 200
    assert guarded.infer(some_faces(1)).status == 401


def test_others_need_a_token_that_nobody_guesses(serve: Serve) -> None:
    served = serve(host="0.0.0.0")
    _, _, token = served.url.partition("?token=")
    assert len(token) > 16
    client = served.client()
    assert client.get("/v2").status == 401
    assert client.get("/v2", Authorization=f"Bearer {token}").status == 200


def test_what_cannot_be_served(serve: Serve) -> None:
    del serve
    with pytest.raises(UsageError, match="no model"):
        Service([])
    with pytest.raises(UsageError, match="Two models are named a"):
        Service([Source("a"), Source("a")])
    with pytest.raises(UsageError, match="no port 70000"):
        Service([Source("a")], port=70_000)
    with pytest.raises(UsageError, match="no name for a model"):
        Source("../etc")
    with pytest.raises(UsageError, match="queue must be more than 0"):
        Limits(queue=0)
    for name in ("megabytes", "megapixels", "timeout"):
        for value in (float("inf"), 1e305):
            with pytest.raises(UsageError, match=f"{name} must be a finite number, got .*Say 1e9"):
                Limits(**{name: value})
    assert Limits(megabytes=1e9).bytes == 10**15


def test_a_port_that_is_taken(serve: Serve) -> None:
    _, port = serve().client().address
    with (
        Service([Source("other")], port=int(port or 0)) as second,
        pytest.raises(ServingError, match=f"Port {port} is taken"),
    ):
        second.start()


def test_answers_come_at_once(serve: Serve) -> None:
    """No part of an answer waits 40 ms for an acknowledgement, whether requests come in parts."""
    served = serve()
    head, _, body = request_bytes(some_faces(1)).partition(b"\r\n\r\n")
    spent = []
    with raw(served) as one:
        for _ in range(30):
            began = time.monotonic()
            one.sendall(head + b"\r\n\r\n")
            one.sendall(body)
            while not one.recv(10_000).endswith(b"}"):
                pass
            spent.append(time.monotonic() - began)
    assert min(spent[10:]) < 0.03
