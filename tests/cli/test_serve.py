"""fer-edge serve, as a process that others talk to and service managers end."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fer_edge.cli.arguments import Finding
from fer_edge.contract import Contract
from fer_edge.errors import MissingDependencyError
from tests.tiny import RGB, classify, tiny_artifact

from .conftest import Command

pytest.importorskip("prometheus_client", reason="needs pip install 'fer-edge[serve]'")
pytest.importorskip("httptools", reason="needs pip install 'fer-edge[serve]'")

FACES = np.random.default_rng(0).integers(0, 256, (3, 1, 48, 48), dtype=np.uint8)


@contextmanager
def serving(*arguments: object, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process, and its port; killed at the end if it still runs."""
    command = [sys.executable, "-m", "fer_edge", "serve", "--port", str(port)]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(r"Serving: http://[^:]+:(\d+)/", line)
            if found:
                yield process, int(found[1])
                return
        raise AssertionError("it has ended before it served")
    finally:
        process.kill()
        process.communicate()


def body(faces: np.ndarray = FACES) -> tuple[bytes, dict[str, str]]:
    tensor = {
        "name": "faces",
        "datatype": "UINT8",
        "shape": list(faces.shape),
        "parameters": {"binary_data_size": faces.nbytes},
    }
    text = json.dumps({"inputs": [tensor]}).encode()
    return text + faces.tobytes(), {"Inference-Header-Content-Length": str(len(text))}


def ask(connection: http.client.HTTPConnection, model: str = "tiny") -> np.ndarray:
    connection.request("POST", f"/v2/models/{model}/infer", *body())
    answer = connection.getresponse()
    told = json.loads(answer.read())
    assert answer.status == 200, told
    (output,) = told["outputs"]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def connected(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    tiny_artifact(tmp_path / "tiny", "fp32")
    return tmp_path / "tiny"


def test_several_models_under_their_names(tiny: Path, tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "other", "fp32", contract=RGB)
    options = ("-m", tiny, "-m", f"theirs={tmp_path / 'other'}", "-m", f"one={tiny}/fp32.onnx")
    with serving(*options) as (process, port):
        connection = connected(port)
        for name in ("tiny", "one"):
            np.testing.assert_allclose(ask(connection, name), classify(FACES), atol=1e-5)
        connection.request("GET", "/v2/models/theirs")
        told = json.loads(connection.getresponse().read())
        assert told["outputs"][0]["parameters"]["labels"] == ",".join(RGB.labels)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_model_is_loaded_again_at_sighup(tiny: Path, tmp_path: Path) -> None:
    other = Contract(48, "gray", ("no", "yes"))
    with serving("-m", tiny) as (process, port):
        connection = connected(port)
        ask(connection)
        tiny_artifact(tmp_path / "new", "fp32", contract=other)
        tiny.rename(tmp_path / "old")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("tiny cannot be loaded, and stays as it is.")
        np.testing.assert_allclose(ask(connection), classify(FACES), atol=1e-5)
        (tmp_path / "new").rename(tiny)
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline() == "tiny is loaded again.\n"
        np.testing.assert_allclose(ask(connection), classify(FACES, other), atol=1e-5)


def test_sigterm_under_load_answers_what_was_accepted(tiny: Path) -> None:
    with serving("-m", tiny) as (process, port):
        faults: list[object] = []
        counts = [0] * 8

        def work(thread: int) -> None:
            while True:
                connection = connected(port)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return
                except ConnectionResetError:  # not accepted yet as the port closed
                    continue
                try:
                    while True:
                        connection.request("POST", "/v2/models/tiny/infer", *body())
                        answer = connection.getresponse()
                        told = answer.read()
                        if answer.status != 200:
                            faults.append((answer.status, told))
                        counts[thread] += 1
                        if answer.will_close:
                            break
                except (OSError, http.client.HTTPException) as error:
                    faults.append(error)
                finally:
                    connection.close()

        threads = [threading.Thread(target=work, args=[i]) for i in range(8)]
        for one in threads:
            one.start()
        while min(counts) < 5:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for one in threads:
            one.join(60)
        assert faults == []
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_killed_and_started_again_on_the_same_port(tiny: Path) -> None:
    port = 0
    for _ in range(3):
        with serving("-m", tiny, port=port) as (process, found):
            assert port in (0, found)
            port = found
            np.testing.assert_allclose(ask(connected(port)), classify(FACES), atol=1e-5)
            process.kill()
            process.wait(60)


def test_the_token_is_an_option_or_of_the_environment(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_EDGE_TOKEN", "secret")
    with serving("-m", tiny) as (_, port):
        connection = connected(port)
        for headers, status in (({}, 401), ({"Authorization": "Bearer secret"}, 200)):
            connection.request("GET", "/v2", headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["-m", "NOWHERE"], 1, "nowhere"),
        (["-m", "a="], 2, "--model a= names no folder. Say --model NAME=FOLDER"),
        (["-m", "a b=TINY"], 2, "'a b' is no name for a model in an address."),
        (["-m", "TINY", "-m", "TINY"], 2, "Two models are named tiny."),
        (["-m", "TINY", "--timeout", "0"], 2, "timeout must be more than 0, got 0.0."),
        (["-m", "TINY", "--timeout", "inf"], 2, "timeout must be a finite number, got inf."),
        (["-m", "TINY", "--host", "192.0.2.1"], 1, "The service cannot listen on 192.0.2.1"),
        (["-m", "TINY", "--host", ".."], 1, "The service cannot listen on .., port 8000: no host"),
        (["-m", "TINY", "--detector", "yunet=NOWHERE"], 1, "There is no file"),
    ],
)
def test_what_cannot_be_served(
    options: list[str], code: int, says: str, tiny: Path, fer_edge: Command
) -> None:
    texts = [text.replace("TINY", str(tiny)).replace("NOWHERE", "nowhere") for text in options]
    result = fer_edge("serve", *texts)
    assert result.code == code
    assert says in result.err.splitlines()[-1]
    assert result.err.splitlines()[-1].startswith("error: ")


def test_the_detector_runs_where_the_models_do(
    tiny: Path, fer_edge: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make(_: object, device: str, threads: int) -> None:
        made.append((device, threads))
        raise MissingDependencyError("No detector.")

    monkeypatch.setattr(Finding, "make", make)
    fer_edge("serve", "-m", tiny, "--device", "cpu", "--threads", 1, "--host", "192.0.2.1")
    assert made == [("cpu", 1)]


def test_without_a_detector_photos_are_said_to_be_off(
    tiny: Path, fer_edge: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "retinaface", None)
    result = fer_edge("serve", "-m", tiny, "--host", "192.0.2.1")
    assert "POST /faces is not served: " in result.err
    assert "pip install" in result.err
    result = fer_edge("serve", "-m", tiny, "--detector-size", 320)
    assert "pip install" in result.error(1)


def test_what_serving_needs(tiny: Path, fer_edge: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("fer_edge.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    error = fer_edge("serve", "-m", tiny).error(1)
    assert error.endswith("Run: pip install 'fer-edge[serve]'")
