"""No frame, face or probability is written or sent unless an option asks for it."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.contract import EMOTIONS
from fer_edge.data import FaceDataset
from tests.detection.graphs import SMALL, tiny_detector

pytest.importorskip("cv2", reason="needs the extra camera")
pytest.importorskip("retinaface", reason="needs the extra camera")

WATCHED = """
import sys

def hook(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.bind", "socket.getaddrinfo"):
        print("NETWORK", event, arguments, file=sys.stderr)

sys.addaudithook(hook)
from fer_edge.cli import main
sys.exit(main())
"""
"""Python tells of sockets that it opens. FFmpeg's own are not seen here: it is given files."""


def watched(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in an empty home, as a user's first."""
    command = [sys.executable, "-c", WATCHED, *map(str, arguments)]
    return subprocess.run(
        command, env=environment_of(home), cwd=home, capture_output=True, text=True, check=False
    )


def environment_of(home: Path) -> dict[str, str]:
    """Of a user whose home it is."""
    # ONNX Runtime keeps its telemetry back where it sees CI.
    taken_out = ("XDG", "FER", "ORT_", "CI", "GITHUB", "GITLAB", "JENKINS", "TF_BUILD")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(taken_out)
    }
    environment |= {"HOME": str(home), "TMPDIR": str(home / "tmp"), "MPLBACKEND": "agg"}
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    return environment


def files(home: Path) -> dict[str, str]:
    """Every file with its hash."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, val: FaceDataset) -> list[Path]:
    """Two photos of other people."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(2):
        photo = np.full((240, 320), 127, np.uint8)
        face = Image.fromarray(np.array(val.faces[3 * index])).resize((96, 96))
        photo[60:156, 100:196] = np.asarray(face)
        Image.fromarray(photo).save(folder / f"secret{index}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that finds a face in every photo."""
    return tiny_detector(tmp_path_factory.mktemp("finder") / "detector", SMALL).folder


@pytest.mark.parametrize("command", ["predict", "predict --find", "camera --headless", "analyze"])
def test_what_is_seen_leaves_no_trace_and_goes_nowhere(
    command: str, photos: list[Path], detector: Path, tmp_path: Path
) -> None:
    name, *options = command.split()
    if command != "predict":
        options += ["--detector", str(detector)]
    out = "rows.csv"
    if name == "analyze":
        pytest.importorskip("pyarrow", reason="needs the extra analyze")
        options += ["--out", out]
    seen = []
    for photo in photos:
        # A first use may fill caches: of the machine's speed, of models, not of what was seen.
        (tmp_path / out).unlink(missing_ok=True)
        done = watched(tmp_path, name, photo, *options)
        assert done.returncode == 0, done.stderr
        assert "NETWORK" not in done.stderr
        assert name == "analyze" or any(word in done.stdout for word in EMOTIONS)
        found = files(tmp_path)
        asked = {out, "rows.png"} if name == "analyze" else set()
        seen.append({path: digest for path, digest in found.items() if path not in asked})
        if asked:
            assert out in found
    first, second = seen
    assert first == second
    for path in second:
        assert "secret" not in path
        assert b"secret" not in (tmp_path / path).read_bytes()
        assert Path(path).suffix not in (".png", ".jpg", ".mp4", ".csv", ".npz"), path
        # ONNX Runtime's own telemetry.
        assert "Microsoft" not in path


def test_the_page_listens_on_this_machine_alone(photos: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("websockets", reason="needs the extra web")
    done = watched(tmp_path, "camera", photos[0], "--web", 0)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("NETWORK")]
    assert any("socket.bind" in line for line in told)
    for line in told:
        assert "127.0.0.1" in line or "::1" in line, line


def test_errors_hold_no_passwords(tmp_path: Path) -> None:
    address = "rtsp://admin:hunter2@127.0.0.1:9/stream"
    done = watched(tmp_path, "camera", address, "--headless")
    assert done.returncode == 1
    assert "hunter2" not in done.stdout + done.stderr
    assert not any(b"hunter2" in (tmp_path / path).read_bytes() for path in files(tmp_path))


def test_a_service_keeps_nothing_and_sends_to_nobody_but_who_asks(
    photos: list[Path], detector: Path, tmp_path: Path
) -> None:
    pytest.importorskip("httptools", reason="needs the extra serve")
    token = "hunter2-hunter2"
    seen: list[dict[str, str]] = []
    with served(tmp_path, "--token", token, "--detector", detector) as (address, errors):
        for photo in photos:
            told = asked(f"{address}/faces", photo.read_bytes(), "image/png", token)
            face = json.loads(told)["faces"][0]
            crop = np.asarray(Image.open(photo).crop((100, 60, 196, 156)).resize((48, 48)))
            body = {"inputs": [{"name": "faces", "shape": [1, 1, 48, 48], "datatype": "UINT8"}]}
            body["inputs"][0]["data"] = crop.ravel().tolist()
            told = asked(
                f"{address}/v2/models/compact/infer",
                json.dumps(body).encode(),
                "application/json",
                token,
            )
            assert len(json.loads(told)["outputs"][0]["data"]) == 7
            with pytest.raises(urllib.error.HTTPError, match="400"):
                asked(f"{address}/faces", b"secret pixels", "image/png", token)
            seen.append(files(tmp_path))
        metrics = asked(f"{address}/metrics", None, None, token).decode()
    # The address is for who starts it, and has the token.
    log = "".join(x for x in errors.read_text().splitlines(True) if not x.startswith("Serving: "))
    first, second = seen
    assert first == second
    assert not any(b"secret" in (tmp_path / path).read_bytes() for path in second)
    assert face["emotion"] is not None
    for told in (log, metrics):
        assert "secret" not in told
        assert token not in told
        assert "probabilities" not in told
    network = [line for line in log.splitlines() if line.startswith("NETWORK")]
    assert network
    for line in network:
        # It listens; it opens no connection itself.
        assert "socket.bind" in line or "socket.getaddrinfo" in line, line
        assert "127.0.0.1" in line, line


@contextlib.contextmanager
def served(home: Path, *options: object) -> Iterator[tuple[str, Path]]:
    """The address of a service, and the file of its standard error, outside its home."""
    errors = home.parent / f"{home.name}.err"
    command = [sys.executable, "-c", WATCHED, "serve", "--port", "0", *map(str, options)]
    with errors.open("w") as stream:
        running = subprocess.Popen(
            command, env=environment_of(home), cwd=home, stdout=stream, stderr=stream
        )
    try:
        deadline = time.monotonic() + 120
        while "Serving: " not in errors.read_text():
            assert running.poll() is None, errors.read_text()
            assert time.monotonic() < deadline, errors.read_text()
            time.sleep(0.05)
        line = next(x for x in errors.read_text().splitlines() if x.startswith("Serving: "))
        yield line.removeprefix("Serving: ").split("?")[0].split()[0].rstrip("/"), errors
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0, errors.read_text()
    finally:
        running.kill()
        running.wait()


def asked(address: str, body: bytes | None, kind: str | None, token: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": kind} if kind else {})
    request = urllib.request.Request(address, body, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return bytes(answer.read())
