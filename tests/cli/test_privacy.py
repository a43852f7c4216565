"""No frame, face or probability is written or sent unless an option asks for it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.data import FaceDataset

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
    # ONNX Runtime keeps its telemetry back where it sees CI.
    taken_out = ("XDG", "FER", "ORT_", "CI", "GITHUB", "GITLAB", "JENKINS", "TF_BUILD")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(taken_out)
    }
    environment |= {"HOME": str(home), "TMPDIR": str(home / "tmp"), "MPLBACKEND": "agg"}
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", WATCHED, *map(str, arguments)]
    return subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=False
    )


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


@pytest.mark.parametrize("command", ["predict", "predict --find", "camera --headless", "analyze"])
def test_what_is_seen_leaves_no_trace_and_goes_nowhere(
    command: str, photos: list[Path], tmp_path: Path
) -> None:
    name, *options = command.split()
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
