"""The harness beside other packages, with peers of which the answers are known."""

import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from bench.peers import environments
from bench.peers.asking import Peer, PeerFailedError
from bench.peers.declared import entries, read_adapter, read_adapters
from bench.peers.picture import frontier
from bench.peers.scores import against_agreed, agreed, in_order
from fer_edge.evaluation.robustness import FAULTS
from tests.pictures import assert_picture

ROOT = Path(__file__).parents[2]
ADAPTERS = ROOT / "bench" / "peers" / "adapters"
HAPPY = 3

FAKE = """
# /// script
# [tool.peer]
# package = "fake"
# licence = "none"
# detectors = { "everywhere" = "Fake" }
# classifiers = ["happy", "without weights"]
# ///
from protocol import serve


def detector(variant):
    # A face in each corner of the picture, whatever it shows.
    return lambda frame: [(0, 0, 100, 100, 0.9), (frame.shape[1] - 100, 0, 100, 100, 0.8)]


def classifier(variant):
    if variant != "happy":
        raise OSError("no such host: the weights are elsewhere")
    print("a package that talks")
    return ["happiness", "anger", "disgust", "fear", "sadness", "surprised", "neutral",
            "contempt"], lambda face: [0.6, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.1]


serve(detector, classifier)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of one adapter, which needs nothing that is not here."""
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "fake_adapter.py").write_text(dedent(FAKE))
    protocol = (ADAPTERS / "protocol.py").read_text()
    (tmp_path / "adapters" / "protocol.py").write_text(protocol)
    return tmp_path / "adapters"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Fourteen faces of val, two of each emotion."""
    return _faces(tmp_path / "fer2013.csv", [*range(7), *range(7)], "PublicTest")


def _faces(path: Path, emotions: list[int], usage: str) -> Path:
    """Faces of noise, as FER2013's csv has them."""
    rng = np.random.default_rng(0)
    rows = [
        f"{emotion},{' '.join(map(str, rng.integers(0, 256, 48 * 48)))},{usage}"
        for emotion in emotions
    ]
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    return path


def test_a_run_tells_what_each_peer_found_and_why_others_could_not(
    folder: Path, faces: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="needs pip install 'fer-edge[plot]'")
    out = tmp_path / "results" / "peers.json"
    command = [sys.executable, "-m", "bench.peers", "--data", faces, "--adapters", folder]
    command += ["--work", tmp_path / "work", "--out", out, "--frames", "3", "--timed", "6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(out.read_text())
    assert told["command"].startswith("python -m bench.peers --data")
    assert told["val_faces"] == 14
    (detector,) = told["detectors"]
    assert detector["method"] == "Fake"
    known = detector["frames"]
    assert known["faces"] == told["known_faces"] > 0
    assert known["false"] == 6 - round(known["found"] * known["faces"])
    happy, broken = told["classifiers"]
    assert happy["accuracy"] == pytest.approx(1 / 7, abs=1e-4)
    assert happy["n"] == 14
    for row in (detector, happy):
        assert row["per_second"] > 0
        assert row["slowest_turn"] <= row["per_second"] <= row["fastest_turn"]
        assert row["peak_mib"] > 1
        assert row["start_s"] > 0
    assert broken["failed"] == "OSError: no such host: the weights are elsewhere"
    assert "accuracy" not in broken
    assert "not measured: OSError: no such host" in done.stdout
    assert_picture(out.with_suffix(".png"))


def test_answers_are_kept_until_the_adapter_changes(
    folder: Path, faces: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="needs pip install 'fer-edge[plot]'")
    command = [sys.executable, "-m", "bench.peers", "--data", faces, "--adapters", folder]
    command += ["--work", tmp_path / "work", "--out", tmp_path / "peers.json"]
    command += ["--frames", "1", "--timed", "1"]

    def said() -> str:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "fake, happy: classify" in said()
    assert "fake, happy: classify" not in said()
    adapter = folder / "fake_adapter.py"
    adapter.write_text(adapter.read_text().replace("0.6, 0.05", "0.05, 0.6"))
    assert "fake, happy: classify" in said()
    happy = json.loads((tmp_path / "peers.json").read_text())["classifiers"][0]
    assert happy["accuracy"] == pytest.approx(1 / 7, abs=1e-4)


def test_all_that_answer_are_asked_of_spoilt_faces(folder: Path, tmp_path: Path) -> None:
    adapter = folder / "fake_adapter.py"
    # In the dark it sees anger.
    adapter.write_text(adapter.read_text().replace("0.6, 0.05,", "0.6, face.mean() < 100,"))
    val = _faces(tmp_path / "val.csv", [HAPPY, HAPPY, HAPPY, 0], "PublicTest")
    photos = _faces(tmp_path / "photos.csv", [HAPPY, 1] * 4, "Training")
    out = tmp_path / "results" / "robustness.json"
    command = [sys.executable, "-m", "bench.peers.robustness", "--data", val, "--photos", photos]
    command += ["--adapters", folder, "--work", tmp_path / "work", "--out", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(out.read_text())
    assert told["command"].startswith("python -m bench.peers.robustness --data")
    assert (told["val"], told["photos"]) == (4, 4)  # half of the photos
    happy, broken = told["classifiers"].values()
    assert (happy["val"], happy["photos"]) == (0.75, 0.5)
    assert happy["val_standard_error"] > 0
    found = {(one["fault"], one["level"]): one["accuracy"] for one in happy["faults"]}
    assert list(found) == [(name, one) for name, (*_, levels) in FAULTS.items() for one in levels]
    assert found["rotated", 10] == 0.75
    assert found["dark", 0.25] == 0.25
    assert "| dark, 0.25 of the light | 25.0 % |" in done.stdout
    # What cannot answer is asked once, and has no column.
    assert broken["failed"] == "OSError: no such host: the weights are elsewhere"
    assert done.stdout.count("without weights: classify") == 1
    assert "| faces | fake, happy |" in done.stdout


def test_a_peer_that_dies_is_told_by_its_last_words(folder: Path, tmp_path: Path) -> None:
    adapter = folder / "fake_adapter.py"
    adapter.write_text("import sys\nsys.exit('the library is not for this processor')\n")
    with pytest.raises(PeerFailedError, match="not for this processor"):
        Peer([sys.executable, str(adapter)], "detect", "any", tmp_path / "home", 0)


def test_a_peer_has_one_core(folder: Path, tmp_path: Path) -> None:
    adapter = folder / "fake_adapter.py"
    text = (
        adapter.read_text()
        .replace("print(", "import os\n    raise OSError(")
        .replace('"a package that talks"', "os.sched_getaffinity(0)")
    )
    adapter.write_text(text)
    command = [sys.executable, str(adapter)]
    with pytest.raises(PeerFailedError, match=r"OSError: \{0\}"):
        Peer(command, "classify", "happy", tmp_path / "home", 0)


def test_a_face_is_agreed_where_two_methods_see_it() -> None:
    one = np.array([[0, 0, 100, 100], [300, 300, 400, 400]], np.float32)
    other = np.array([[10, 10, 100, 100]], np.float32)
    third = np.array([[5, 5, 100, 100], [200, 0, 260, 60]], np.float32)
    faces = agreed({"one": one, "other": other, "third": third})
    # Its place is that of the box in the middle.
    assert faces.tolist() == [[5, 5, 100, 100]]
    scores = np.ones(2, np.float32)
    told = against_agreed([(one, scores)], [faces])
    assert told == {"faces": 1, "found": 1.0, "unconfirmed": 1}


def test_variants_of_one_method_do_not_confirm_each_other() -> None:
    twice = np.array([[0, 0, 100, 100], [1, 1, 100, 100]], np.float32)
    assert len(agreed({"one": twice, "other": np.empty((0, 4), np.float32)})) == 0


def test_labels_are_brought_into_order_and_others_left_out() -> None:
    labels = ["Happiness", "contempt", "anger", "disgust", "fear", "sadness", "surprise", "neutral"]
    found = in_order(labels, [[0.5, 0.5, 0, 0, 0, 0, 0, 0], [0, 0.2, 0.4, 0.4, 0, 0, 0, 0]])
    assert found.argmax(axis=1).tolist() == [HAPPY, 0]
    assert found.sum(axis=1) == pytest.approx([1, 1])
    with pytest.raises(ValueError, match="no neutral among"):
        in_order(labels[:-1], [[0] * 7])


def test_every_adapter_tells_what_it_is_and_has_its_versions_locked() -> None:
    adapters = read_adapters(ADAPTERS)
    assert len(adapters) >= 8
    for adapter in adapters:
        assert adapter.dependencies
        assert adapter.licence
        assert entries([adapter])
        locked = environments.lock_of(adapter).read_text().lower()
        for wanted in () if adapter.is_node else adapter.dependencies:
            name = re.split(r"[\[=<]", wanted)[0].lower()
            assert environments.HERE in wanted or f"{name}==" in locked, wanted
        if adapter.package != "fer-edge":
            number = environments.version(adapter)
            assert any(number in one for one in adapter.dependencies), adapter.name


def test_an_adapter_that_says_nothing_of_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "silent_adapter.py"
    path.write_text("print('hello')\n")
    with pytest.raises(SystemExit, match="inline script metadata"):
        read_adapter(path)


def test_on_the_frontier_nothing_is_faster_and_as_good() -> None:
    slow_best, middle, fast = (1.0, 70.0), (10.0, 60.0), (100.0, 50.0)
    beaten = [(9.0, 60.0), (1.0, 69.0), (50.0, 50.0)]
    assert frontier([*beaten, fast, slow_best, middle]) == [slow_best, middle, fast]
    assert frontier([]) == []
