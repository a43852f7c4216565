import ast
import importlib.metadata
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from packaging.requirements import Requirement

from fer_edge.cli.app import app
from fer_edge.runtime.capture import sources
from fer_edge.runtime.capture.gstreamer import csi_pipeline
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


def test_what_is_installed_is_what_the_extras_name() -> None:
    requirements = [Requirement(line) for line in importlib.metadata.requires("fer-edge") or []]
    (extra,) = re.findall(r"pip install '\.\[(\w+)\]'", TEXT)
    camera, export = (
        {one.name for one in requirements if one.marker and one.marker.evaluate({"extra": name})}
        for name in ("camera", extra)
    )
    assert "onnx" in export
    assert camera - {"opencv-python"} == set(commands("pip")[1][3:])


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
