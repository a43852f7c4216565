import ast
import importlib.metadata
import json
import re
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from packaging.requirements import Requirement
from PIL import Image

from fer_edge import Recognizer
from fer_edge.artifact import Artifact
from fer_edge.bench import latency, suite
from fer_edge.cli import main
from fer_edge.cli.app import app
from fer_edge.data import synthetic_dataset
from fer_edge.engines.speed import fastest
from fer_edge.engines.tensorrt import PREFERENCE
from fer_edge.export.pipeline import export_model
from fer_edge.runtime.capture import sources
from fer_edge.runtime.capture.gstreamer import csi_pipeline
from tests.engines.simulated_builder import BuildingTensorRT
from tests.export.graphs import plain_graph
from tests.tiny import FakeEngine

from .conftest import FRAME, see_two

NOTE = Path(__file__).parents[2] / "examples" / "jetson.md"
TEXT = NOTE.read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert found
    return found


def commands(program: str) -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in words if line[0] == program]


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    kinds = re.findall(r"^```(\w+)$", TEXT, re.MULTILINE)
    assert set(kinds) == {"bash", "python", "gstreamer"}
    assert 2 * len(kinds) == len(re.findall(r"^```", TEXT, re.MULTILINE))


@pytest.mark.parametrize("line", commands("fer-edge"), ids=" ".join)
def test_commands_and_their_options_exist(line: list[str]) -> None:
    name, *arguments = line[1:]
    typer.main.get_command(app).commands[name].make_context(name, arguments)


def test_the_backend_and_the_engine_that_are_named_exist() -> None:
    from fer_edge.engines.tensorrt import TENSORRT_BACKENDS

    named = re.findall(r"--(?:engine|backend) (\S+?)[`\s]", TEXT)
    assert set(named) == set(TENSORRT_BACKENDS)


def run(line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(line[1:])
    out, err = capsys.readouterr()
    assert not ended.value.code, (line, err)
    return out


def test_the_commands_for_engines_do_what_the_note_says(
    building_tensorrt: BuildingTensorRT,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the note's order, on a simulated GPU; memory is measured in a process without one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(suite, "measure_peak_memory", lambda *_, **__: None)
    monkeypatch.setattr(latency, "_WARM_UP_S", 0.0, raising=False)
    onnx.save(plain_graph(), "plain.onnx")
    dataset = synthetic_dataset(70, seed=1, split="val")
    export_model(Path("plain.onnx"), Path("build/r50"), precisions=["int8"], data=dataset)
    Image.fromarray(np.array(dataset.faces[0])).save("face.png")
    elsewhere = ("doctor", "detector", "camera")
    asked = [line for line in commands("fer-edge") if line[1] not in elsewhere]
    assert [line[1] for line in asked] == ["export", "info", "predict", "bench"]
    export, info, predict, bench = asked

    run(export, capsys)
    assert [(one["precision"], one["batches"]) for one in building_tensorrt.built] == [
        ("fp16", (1, 4, 16)),
        ("int8", (1, 4, 16)),
    ]
    assert "tensorrt-10.3.0-int8.engine" in run(info, capsys)
    with Recognizer("build/orin") as recognizer:
        assert recognizer.describe().backend == "tensorrt"
        info = recognizer.describe()
    speeds = {
        record.backend: record for record in Artifact.load(Path("build/orin")).manifest.speeds
    }
    assert info.precision == fastest(speeds["tensorrt"], PREFERENCE["tensorrt"][::2])
    assert str(info.choice).startswith("times here: ")
    assert run(predict, capsys).startswith("face.png: ")
    shown = run([*bench, "--seconds", "0.1"], capsys)
    told = json.loads(Path("orin.json").read_text())
    assert [(row["backend"], row["precision"]) for row in told["precisions"]] == [
        ("tensorrt", "fp16"),
        ("tensorrt", "int8"),
    ]
    assert [row["batch"] for row in told["precisions"][0]["latency"]] == [1, 4, 16]
    assert "fp32 has no engine for tensorrt" in shown

    (option,) = re.findall(r"add `(--\S+)` to the export", TEXT)
    run([*export[:-1], "build/orin-32", option], capsys)
    again = [word.replace("build/orin", "build/orin-32") for word in bench]
    run([*again, "--seconds", "0.1"], capsys)
    rows = json.loads(Path("orin.json").read_text())["precisions"]
    assert [row["precision"] for row in rows] == ["fp32", "fp16", "int8"]
    assert all(one["speedup_vs_fp32"] > 0 for row in rows for one in row["latency"])


def test_what_the_note_says_of_orin_and_fp8(
    building_tensorrt: BuildingTensorRT,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert building_tensorrt.gpu.capability == (8, 7)
    monkeypatch.chdir(tmp_path)
    onnx.save(plain_graph(), "plain.onnx")
    dataset = synthetic_dataset(70, seed=1, split="val")
    export_model(Path("plain.onnx"), Path("r50"), precisions=["int8"], data=dataset)
    line = "fer-edge export r50 --fp16 --fp8 --out orin"
    assert "No fp8 engine for tensorrt" in run(line.split(), capsys)
    with pytest.raises(SystemExit) as ended:
        main([*line.split()[1:], "--engine", "tensorrt"])
    assert ended.value.code == 1
    assert "FP8 needs 8.9" in capsys.readouterr().err


def test_what_is_installed_is_what_the_extras_name() -> None:
    requirements = [Requirement(line) for line in importlib.metadata.requires("fer-edge") or []]
    (extra,) = re.findall(r"pip install '\.\[(\w+)\]'", TEXT)
    camera, export = (
        {one.name for one in requirements if one.marker and one.marker.evaluate({"extra": name})}
        for name in ("camera", extra)
    )
    assert "onnx" in export
    assert camera - export - {"opencv-python"} == set(commands("pip")[1][3:])


def test_the_pipeline_is_what_the_address_stands_for() -> None:
    (pipeline,) = blocks("gstreamer")
    assert " ".join(pipeline.split()) == csi_pipeline("csi://0")
    (address,) = re.findall(r"`(csi://0\?\S+)`", TEXT)
    assert csi_pipeline(address) == csi_pipeline("csi://0")


def test_the_trial_is_the_pipeline_but_for_its_sink() -> None:
    (trial,) = commands("gst-launch-1.0")
    head, separator, _ = csi_pipeline("csi://0").partition("! appsink")
    assert separator
    assert trial[1:] == [*head.split(), "!", "fakesink"]


class Enough(Exception):  # noqa: N818
    pass


def test_the_program_runs_on_pipelines_that_give_frames(
    monkeypatch: pytest.MonkeyPatch, engine: FakeEngine, detect
) -> None:
    opened: list[str] = []

    class Reader:
        def read(self) -> tuple[np.ndarray, None]:
            return FRAME, None

        def close(self) -> None: ...

    def open_pipeline(pipeline: str) -> Reader:
        opened.append(pipeline)
        return Reader()

    seen: list[dict] = []

    def tell(moment: dict) -> None:
        seen.append(moment)
        if {one["source"] for one in seen} == {"csi://0", "door"}:
            raise Enough

    monkeypatch.setattr(sources, "open_pipeline", open_pipeline)
    detect(see_two)
    (program,) = blocks("python")
    with pytest.raises(Enough):
        exec(compile(ast.parse(program), str(NOTE), "exec"), {"print": tell})
    assert opened[0] == csi_pipeline("csi://0")
    assert opened[1].endswith(csi_pipeline("csi://0").partition("! nvvidconv flip-method=0 ")[2])
    assert engine.batches
    assert len(seen[0]["faces"]) == 2
