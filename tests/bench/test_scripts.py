"""The scripts of bench/ still run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "bench"


@pytest.mark.parametrize(
    ("script", "options", "results"),
    [
        ("bench/overhead.py", ["--seconds", "0.2"], ["overhead.json"]),
        ("bench/cameras.py", ["--minutes", "0.02"], ["cameras.json", "cameras.png"]),
        ("-m bench.detector", ["--frames", "2"], ["detector.json"]),
        ("bench/end_to_end.py", ["--seconds", "0.3", "--turns", "1"], ["end-to-end.json"]),
        ("bench/batching.py", ["--seconds", "0.5"], ["batching.json"]),
        (
            "bench/precisions.py",
            ["--models", "compact", "--seconds", "0.1", "--samples", "70"],
            ["precisions.json"],
        ),
        ("-m bench.robustness", ["--faces", "70"], ["robustness.json"]),
        ("-m bench.ensemble", ["compact", "nano"], ["ensemble.json"]),
        ("bench/flicker.py", ["--seconds", "1", "--seeds", "2"], ["flicker.json", "flicker.png"]),
    ],
)
def test_a_script_measures(
    script: str, options: list[str], results: list[str], tmp_path: Path, fer2013: Path
) -> None:
    pytest.importorskip("retinaface", reason="needs pip install 'fer-edge[camera]'")
    pytest.importorskip("matplotlib", reason="needs pip install 'fer-edge[plot]'")
    command = [sys.executable, *script.split(), "--data", fer2013, "--out", tmp_path, *options]
    subprocess.run(command, check=True, timeout=300, capture_output=True, cwd=ROOT)
    assert sorted(path.name for path in tmp_path.iterdir()) == results
    found = json.loads((tmp_path / results[0]).read_text())
    assert found["command"].startswith(f"python {script} --data")
    assert found["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("script", "options"), [("readers", ["--rounds", "1"]), ("kills", ["--moments", "1"])]
)
def test_a_script_of_recordings_measures(script: str, options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("retinaface", reason="needs pip install 'fer-edge[camera]'")
    command = [sys.executable, BENCH / f"{script}.py", *options, "--out", tmp_path]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    found = json.loads((tmp_path / f"{script}.json").read_text())
    assert found["command"].startswith(f"python bench/{script}.py")
    if script == "readers":
        assert {told["PyAV"] for told in found["cases"].values()} == {"right"}
    else:
        # Fragments are a quarter of a second long; the rest is for a busy machine.
        assert found["most_seconds_lost"] < 1


def test_the_script_of_the_service_measures(tmp_path: Path, fer2013: Path) -> None:
    pytest.importorskip("httptools", reason="needs pip install 'fer-edge[serve]'")
    if shutil.which("wrk") is None:
        pytest.skip("needs wrk: apt install wrk")
    command = [sys.executable, BENCH / "serving.py", "--data", fer2013, "--out", tmp_path]
    command += ["--seconds", "1", "--turns", "1", "--kills", "2", "--long", "2"]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    found = json.loads((tmp_path / "serving.json").read_text())
    long = found["in_one_go"]
    assert long["requests"] > 0
    assert long["bad_status"] == long["socket_errors"] == long["timeouts"] == 0
    assert long["others_wrong"] == {}
    assert set(long["others"]) == {"health", "metrics", "photo", "half a photo", "hang-up"}
    assert all(sample["resident_mib"] > 0 for sample in long["samples"])
    served = found["rows"]["fer-edge serve"]
    assert served["requests"] > 0
    assert served["bad_status"] == served["socket_errors"] == found["killed"]["wrong"] == 0
    assert found["killed"]["right"] > 0


def test_the_script_of_training_speed_measures(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs pip install 'fer-edge[train]'")
    command = [sys.executable, BENCH / "training_speed.py", "nano", "--batch", "4"]
    command += ["--steps", "1", "--turns", "1", "--precision", "fp32", "--out", tmp_path]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    found = json.loads((tmp_path / "training-speed.json").read_text())
    ways = found["faces_per_second"]["nano"]["fp32"]
    assert list(ways) == ["torch", "memory kept", "memory kept, depthwise"]
    assert all(speed > 0 for speed in ways.values())
