"""Networks of somebody else: every engine takes its faces and gives its labels."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from fer_edge.artifact import Artifact
from fer_edge.contract import LABELS_KEY, Contract
from fer_edge.engines import open_engine, run_all
from fer_edge.engines.base import Engine, Faces
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.engines.speed import BATCHES, measure_speed
from fer_edge.engines.tensorrt import TensorRTEngine, build_engine
from fer_edge.errors import ArtifactError, EngineLoadError, InferenceError, InputError
from fer_edge.sealed import MANIFEST
from tests.tiny import CONTRACTS, EIGHT, FIVE, RGB, classify, tiny_artifact, tiny_graph

from .device_arrays import KINDS
from .fakes import FakeTensorRT, expected_of_fake
from .simulated_builder import BuildingTensorRT

of_each = pytest.mark.parametrize("contract", CONTRACTS, ids=["rgb", "eight", "five"])

ATOL = 1e-4
"""A logit of the RGB network sums 37,632 products up to about 40, where a float32 step is 4e-6; the
order of the sum, which the processor's kernels choose, moves it by a few of them (1.5e-5 seen)."""


def faces_of(contract: Contract, n: int) -> Faces:
    shape = (n, *contract.face_shape)
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


@of_each
@pytest.mark.parametrize("backend", ["onnxruntime-cpu", "openvino"])
def test_an_artifact_is_run_as_it_says(backend: str, contract: Contract, tmp_path: Path) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    folder = tiny_artifact(tmp_path / "build", "fp32", contract=contract).folder
    with open_engine(folder, backend=backend) as engine:
        assert engine.describe().contract == contract
        faces = faces_of(contract, 5)
        np.testing.assert_allclose(engine.run(faces), classify(faces, contract), atol=ATOL)
        memory = faces.reshape(-1, *contract.crop_shape)
        np.testing.assert_allclose(run_all(engine, memory, 2), classify(faces, contract), atol=ATOL)
        assert run_all(engine, memory[:0]).shape == (0, len(contract.labels))
        with pytest.raises(InputError, match=r"Faces must be uint8 \(N, \d, \d+, \d+\), got"):
            engine.run(np.zeros((2, 1, 50, 50), np.uint8))
        with pytest.raises(InputError, match=r"Faces must be \(N, "):
            run_all(engine, np.zeros((2, 50, 50), np.uint8))


@of_each
def test_a_lone_graph_names_its_labels(contract: Contract) -> None:
    graph = tiny_graph(0, contract)
    helper.set_model_props(graph, {LABELS_KEY: ",".join(contract.labels)})
    with OnnxRuntimeEngine(graph.SerializeToString()) as engine:
        assert engine.describe().contract == contract


def test_a_lone_graph_without_labels_is_named_by_nobody() -> None:
    graph = tiny_graph(0, EIGHT).SerializeToString()
    with pytest.raises(EngineLoadError, match="nothing tells the labels of its 8 outputs") as error:
        OnnxRuntimeEngine(graph)
    assert "fer-edge import FILE" in str(error.value)
    with OnnxRuntimeEngine(graph, labels=EIGHT.labels) as engine:
        assert engine.describe().contract == EIGHT


@pytest.mark.parametrize("backend", ["onnxruntime-cpu", "openvino"])
@pytest.mark.parametrize("swapped", ["labels", "size"])
def test_a_manifest_that_says_otherwise_is_refused(
    swapped: str, backend: str, tmp_path: Path
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    folder = tiny_artifact(tmp_path / "build", "fp32", contract=EIGHT).folder
    manifest = json.loads((folder / MANIFEST).read_text())
    if swapped == "labels":
        manifest["labels"].reverse()
    else:
        manifest["input"]["shape"] = ["batch", 1, 48, 48]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"The manifest gives .*fp32\.onnx as uint8 .* it is"):
        open_engine(folder, backend=backend)


@of_each
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_tensorrt_builds_and_runs_it(
    backend: str, contract: Contract, building_tensorrt: BuildingTensorRT
) -> None:
    graph = tiny_graph(0, contract).SerializeToString()
    plan = build_engine(graph, backend, min_batch=1, opt_batch=2, max_batch=4)
    assert building_tensorrt.built[0]["face"] == contract.face_shape
    with TensorRTEngine(plan, backend, precision="fp32", labels=contract.labels) as engine:
        assert engine.describe().contract == contract
        faces = faces_of(contract, 9)
        found = engine.run(faces)
        np.testing.assert_array_equal(found, expected_of_fake(faces, len(contract.labels)))


@of_each
@pytest.mark.parametrize("kind", KINDS)
def test_faces_that_are_on_the_gpu(
    kind: Callable, contract: Contract, fake_tensorrt: FakeTensorRT
) -> None:
    fake_tensorrt.contract = contract
    faces = faces_of(contract, 11)
    with TensorRTEngine(b"plan", "tensorrt", precision="fp16", labels=contract.labels) as engine:
        found = engine.run(kind(fake_tensorrt.gpu, faces))
    np.testing.assert_array_equal(found, expected_of_fake(faces, len(contract.labels)))


def test_an_engine_without_names_is_not_guessed(fake_tensorrt: FakeTensorRT) -> None:
    fake_tensorrt.contract = EIGHT
    with pytest.raises(EngineLoadError, match="nothing tells the labels of its 8 outputs"):
        TensorRTEngine(b"plan", "tensorrt", precision="fp16")
    assert fake_tensorrt.gpu.stack == []


@of_each
def test_speed_is_measured_with_its_faces(contract: Contract) -> None:
    def opened(_: str) -> Engine:
        return OnnxRuntimeEngine(
            tiny_graph(0, contract).SerializeToString(), labels=contract.labels
        )

    record = measure_speed(opened, ["fp32"], seconds=0.01)
    assert sorted(record.ms["fp32"]) == sorted(BATCHES)


def logits_graph(shift: float = 0.0) -> bytes:
    """A graph that forgot its softmax."""
    graph = tiny_graph()
    softmax = graph.graph.node[-1]
    assert softmax.op_type == "Softmax"
    shifted = helper.make_node("Add", ["logits", "shift"], ["probabilities"])
    softmax.CopyFrom(shifted)
    graph.graph.initializer.append(helper.make_tensor("shift", TensorProto.FLOAT, [], [shift]))
    return graph.SerializeToString()


@pytest.mark.parametrize(
    ("shift", "says"), [(0.0, "is among them"), (5.0, "a face's sum is"), (-5.0, "is among them")]
)
@pytest.mark.parametrize("backend", ["onnxruntime-cpu", "openvino"])
def test_logits_are_no_probabilities(backend: str, shift: float, says: str, tmp_path: Path) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / "logits.onnx"
    path.write_bytes(logits_graph(shift))
    with (
        open_engine(path, backend=backend) as engine,
        pytest.raises(InferenceError, match=f"no probabilities: .*{says}") as caught,
    ):
        engine.run(faces_of(Contract(), 4))
    assert "fer-edge import FILE" in str(caught.value)


def test_old_artifacts_have_the_contract_of_fer2013(tmp_path: Path) -> None:
    folder = tiny_artifact(tmp_path / "build", "fp32").folder
    assert Artifact.load(folder).contract == Contract()
    assert {RGB.size, EIGHT.size, FIVE.size} == {112, 64, 48}
