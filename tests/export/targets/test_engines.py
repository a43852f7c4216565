"""What an export records of the engines that it builds, TensorRT aside."""

import numpy as np
import onnx
import pytest

from fer_edge.engines import open_engine, run_all
from fer_edge.engines.cuda import GpuDescription
from fer_edge.errors import EngineLoadError
from fer_edge.export import pipeline
from fer_edge.export.importing.source import Source
from fer_edge.export.pipeline import export_model
from fer_edge.export.targets import engine_file
from tests.export.graphs import plain_graph
from tests.tiny import CONTRACTS

UNREADABLE = "TensorRT's report on this engine does not describe its layers."


@pytest.fixture
def source(residual, tmp_path, monkeypatch):
    orin = GpuDescription("Orin", (8, 7), 8, 16 << 30, "12.6")
    monkeypatch.setattr(engine_file, "module_version", lambda _: "10.3.0")
    monkeypatch.setattr(engine_file, "describe_gpu", lambda *_: orin)
    monkeypatch.setattr(engine_file, "build_engine", lambda *_, **__: b"plan")
    path = tmp_path / "small.onnx"
    onnx.save(residual, path)
    return path


def test_a_report_that_cannot_be_read_fails_no_export(source, faces, tmp_path, monkeypatch):
    def unreadable(*_, **__):
        raise EngineLoadError(UNREADABLE, hint="Build the engine again.")

    monkeypatch.setattr(pipeline, "inspect_engine", unreadable)
    artifact = export_model(
        source,
        tmp_path / "build",
        precisions=["int8"],
        data=faces,
        samples=140,
        backends=["tensorrt"],
    )
    (engine,) = artifact.manifest.engines
    assert engine.not_int8 == {}
    assert engine.not_inspected == UNREADABLE


@pytest.mark.parametrize(
    ("backend", "recorded"),
    [("tensorrt", ("Orin", "8.7", 8, 16 << 30)), ("tensorrt-rtx", (None, None, None, None))],
)
def test_the_gpu_is_recorded(source, tmp_path, backend, recorded):
    artifact = export_model(source, tmp_path / "build", precisions=["fp16"], backends=[backend])
    (engine,) = artifact.manifest.engines
    assert (engine.gpu, engine.capability, engine.multiprocessors, engine.memory) == recorded


@pytest.mark.parametrize("contract", CONTRACTS, ids=["rgb", "eight", "five"])
def test_an_engine_of_somebody_elses_network_runs(building_tensorrt, contract, tmp_path):
    origin = Source("theirs", plain_graph(0, contract), contract=contract)
    export_model(origin, tmp_path / "build", precisions=["fp16"], backends=["tensorrt"])
    assert building_tensorrt.built[0]["face"] == contract.face_shape
    with open_engine(tmp_path / "build", backend="tensorrt") as engine:
        assert engine.describe().contract == contract
        found = run_all(engine, np.zeros((3, *contract.crop_shape), np.uint8))
    assert found.shape == (3, len(contract.labels))
