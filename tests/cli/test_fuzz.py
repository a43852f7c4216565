"""The command line on damaged files of every kind that it takes."""

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.cli import main
from fer_edge.data import FaceDataset
from fer_edge.models.carried import carried_model
from tests.cli.conftest import Outcome
from tests.export.graphs import plain_graph
from tests.fuzzing import CSV, FUZZ, IMAGES, LEGEND, MANIFEST, damaged, packed

FEWER = settings(FUZZ, max_examples=max(1, FUZZ.max_examples // 5))
"""Each of these runs a command, some an engine."""

BARE = ("--engine", "none")
RECIPE = (Path(__file__).parents[2] / "export" / "compact.toml").read_bytes()
GRAPH = plain_graph().SerializeToString()


def run(*arguments: object) -> Outcome:
    """A command in this process; what is no exit is a fault of the command."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stop,
    ):
        main([str(argument) for argument in arguments])
    return Outcome(int(stop.value.code or 0), out.getvalue(), err.getvalue())


def refused_or_done(folder: Path, named: str, *arguments: object, makes: str = "") -> None:
    """It works and has made what it says, or it names the file in an error and leaves nothing."""
    before = sorted(folder.rglob("*"))
    done = run(*arguments)
    assert "Traceback" not in done.err
    if done.code == 0:
        assert not makes or (folder / makes).exists()
        return
    assert done.code in (1, 2, 3), done
    assert named in done.err, done
    assert sorted(folder.rglob("*")) == before or done.code == 3, done


@contextlib.contextmanager
def _folder():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def table() -> bytes:
    return (carried_model() / "calibration.json").read_bytes()


@FEWER
@given(damaged(*IMAGES), st.sampled_from(["face.png", "7", "a ! b.jpg", "x.onnx"]))
def test_predict(data: bytes, name: str) -> None:
    with _folder() as folder:
        (folder / name).write_bytes(data)
        refused_or_done(folder, name, "predict", folder / name, "--json")


@FEWER
@given(damaged(CSV, packed(), LEGEND), st.sampled_from(["a.csv", "a.zip", "a.tar.gz", "a.txt"]))
def test_data(data: bytes, name: str) -> None:
    with _folder() as folder:
        (folder / name).write_bytes(data)
        refused_or_done(folder, name, "data", folder / name, "--out", folder / "r.json",
                        makes="r.json")  # fmt: skip


@FEWER
@given(damaged(CSV.replace(b"Training", b"PublicTest"), packed()), st.sampled_from(["a.csv", "b"]))
def test_evaluate(data: bytes, name: str) -> None:
    with _folder() as folder:
        (folder / name).write_bytes(data)
        refused_or_done(folder, name, "evaluate", "--data", folder / name)


@FEWER
@given(damaged(MANIFEST), st.sampled_from(["info", "inspect", "tune", "predict"]))
def test_manifest(data: bytes, command: str) -> None:
    with _folder() as folder:
        artifact = Path(shutil.copytree(carried_model(), folder / "artifact"))
        (artifact / "manifest.json").write_bytes(data)
        if command == "predict":
            (folder / "face.png").write_bytes(IMAGES[0])
            arguments = ["predict", folder / "face.png", "--model", artifact]
        else:
            arguments = [command, artifact]
        if command == "tune":
            arguments += ["--seconds", "0.1"]
        refused_or_done(folder, "artifact", *arguments)


@FEWER
@given(damaged(GRAPH), st.sampled_from(["a.onnx", "a.pth"]))
def test_graph(data: bytes, name: str) -> None:
    with _folder() as folder:
        (folder / name).write_bytes(data)
        refused_or_done(folder, name, "export", folder / name, *BARE, "--out", folder / "out",
                        makes="out/manifest.json")  # fmt: skip


@FEWER
@given(damaged(GRAPH))
def test_a_graph_that_predicts(data: bytes) -> None:
    with _folder() as folder:
        (folder / "a.onnx").write_bytes(data)
        (folder / "face.png").write_bytes(IMAGES[0])
        refused_or_done(folder, "a.onnx", "predict", folder / "face.png", "--model",
                        folder / "a.onnx")  # fmt: skip


@FEWER
@given(damaged(table()))
def test_table(data: bytes) -> None:
    with _folder() as folder:
        (folder / "table.json").write_bytes(data)
        refused_or_done(
            folder, "table.json", "export", carried_model(), "--int8", *BARE,
            "--calibration", folder / "table.json", "--out", folder / "out",
            makes="out/manifest.json",
        )  # fmt: skip


@pytest.fixture(scope="module")
def histograms(val: FaceDataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("histograms")
    onnx.save(plain_graph(), folder / "plain.onnx")
    pixels = [" ".join(map(str, face.ravel())) for face in val.faces]
    rows = [f"{n},{p},PublicTest" for n, p in zip(val.labels, pixels, strict=True)]
    (folder / "val.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    made = run("calibrate", folder / "plain.onnx", "--data", folder / "val.csv", "--samples", 70,
               "--out", folder / "a.json")  # fmt: skip
    assert made.code == 0, made
    return (folder / "a.npz").read_bytes()


def test_histograms(histograms: bytes) -> None:
    @FEWER
    @given(damaged(histograms))
    def tried(data: bytes) -> None:
        with _folder() as folder:
            (folder / "h.npz").write_bytes(data)
            refused_or_done(folder, "h.npz", "calibrate", "--histograms", folder / "h.npz",
                            "--method", "minmax", "--out", folder / "t.json",
                            makes="t.json")  # fmt: skip

    tried()


@FEWER
@given(damaged(RECIPE))
def test_recipe(data: bytes) -> None:
    pytest.importorskip("torch", reason="needs pip install 'fer-edge[train]'")
    with _folder() as folder:
        (folder / "recipe.toml").write_bytes(data)
        # Data that is not there ends what a whole recipe begins.
        done = run("train", "--recipe", folder / "recipe.toml", "--data", folder / "none.zip",
                   "--out", folder / "run")  # fmt: skip
        assert done.code in (1, 2), done
        assert "recipe.toml" in done.err or "none.zip" in done.err or "best.safetensors" in done.err
        assert [path.name for path in folder.iterdir()] == ["recipe.toml"]


def test_recording(recording: bytes) -> None:
    @FEWER
    @given(damaged(recording), st.sampled_from(["a.mp4", "a.mkv", "a.h264"]))
    def tried(data: bytes, name: str) -> None:
        with _folder() as folder:
            (folder / name).write_bytes(data)
            refused_or_done(folder, name, "analyze", folder / name, "--out", folder / "t.csv",
                            makes="t.csv")  # fmt: skip

    tried()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'fer-edge[camera]'")
    pytest.importorskip("retinaface", reason="needs the extra camera")
    path = tmp_path_factory.mktemp("recording") / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(5):
            image = np.full((48, 64, 3), 40 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path.read_bytes()
