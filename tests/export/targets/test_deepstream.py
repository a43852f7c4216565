"""Configurations for DeepStream's nvinfer, held against its documentation; it is not run."""

import configparser
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from fer_edge.artifact import Artifact
from fer_edge.contract import Contract, Precision
from fer_edge.export.graph.view import load_graph
from fer_edge.export.targets.deepstream import for_nvinfer, write_nvinfer
from fer_edge.export.targets.triton import write_repository
from fer_edge.models.carried import carried_model
from fer_edge.pixels.crops import to_face
from tests.tiny import CONTRACTS, tiny_graph

KNOWN = {
    *("gie-unique-id", "process-mode", "interval", "labelfile-path", "gpu-id"),
    *("secondary-reinfer-interval", "output-tensor-meta", "enable-dla", "use-dla-core"),
    *("batch-size", "tensor-meta-pool-size", "network-mode", "model-engine-file"),
    *("int8-calib-file", "workspace-size", "output-blob-names", "is-classifier", "network-type"),
    *("force-implicit-batch-dim", "infer-dims", "output-io-formats", "layer-device-precision"),
    *("model-color-format", "net-scale-factor", "offsets", "mean-file", "maintain-aspect-ratio"),
    *("symmetric-padding", "scaling-filter", "scaling-compute-hw", "network-input-order"),
    *("input-tensor-from-meta", "custom-lib-path", "parse-classifier-func-name", "onnx-file"),
    *("classifier-type", "classifier-threshold", "classifier-async-mode"),
    *("input-object-min-width", "input-object-min-height", "input-object-max-width"),
    *("input-object-max-height", "operate-on-gie-id", "operate-on-class-ids"),
}
"""Keys of the group ``property`` that are not for detectors, segmentation, Caffe, UFF or TLT, in
DeepStream's API reference, gstnvinfer_property_parser.h."""


def colours(contract: Contract, count: int = 64) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Faces as a graph of an artifact takes them, and as nvinfer gives them."""
    shape = (count, contract.size, contract.size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    faces = np.stack([to_face(Image.fromarray(one), contract) for one in pixels])
    return faces.reshape(count, *contract.face_shape), pixels.transpose(0, 3, 1, 2).astype("f4")


def asked(graph: Path | bytes, faces: NDArray[np.generic]) -> NDArray[np.float32]:
    (answer,) = onnxruntime.InferenceSession(graph).run(None, {"faces": faces})
    assert isinstance(answer, np.ndarray)
    return answer


def read(folder: Path) -> dict[str, str]:
    """The group of the configuration; raises where a line is none, or a key is there twice."""
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), comment_prefixes=("#",)
    )
    parser.read_string((folder / "config_infer.txt").read_text())
    assert parser.sections() == ["property"]
    return dict(parser["property"])


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    write_repository(Artifact.load(carried_model()), folder, max_batch=32)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_carried_model_answers_as_before(repository: Path, precision: Precision) -> None:
    folder = repository / f"compact_{precision}"
    contract = Artifact.load(carried_model()).contract
    faces, given = colours(contract)
    # Gray is exact, so the rest of the graph gets the very same numbers.
    np.testing.assert_array_equal(
        asked(folder / "deepstream" / "model.onnx", given),
        asked(folder / "1" / "model.onnx", faces),
    )


def test_the_configuration_of_the_carried_model(repository: Path) -> None:
    found = read(repository / "compact_fp32" / "deepstream")
    assert set(found) <= KNOWN
    assert found == found | {
        "process-mode": "2",  # on objects
        "network-type": "1",  # a classifier
        "model-color-format": "0",  # RGB
        "net-scale-factor": "1",
        "maintain-aspect-ratio": "1",
        "infer-dims": "3;48;48",
        "batch-size": "32",
        "network-mode": "0",
        "onnx-file": "model.onnx",
        "labelfile-path": "labels.txt",
        "output-blob-names": "probabilities",
    }
    folder = repository / "compact_fp32" / "deepstream"
    session = onnxruntime.InferenceSession(folder / found["onnx-file"])
    (taken,) = session.get_inputs()
    assert taken.type == "tensor(float)"
    assert ";".join(map(str, taken.shape[1:])) == found["infer-dims"]
    assert [one.name for one in session.get_outputs()] == [found["output-blob-names"]]
    # One line an output of the network, classes between semicolons, in their order.
    assert (folder / "labels.txt").read_text().splitlines() == [
        "angry;disgust;fear;happy;sad;surprise;neutral"
    ]


def test_forms_for_processors_have_none(repository: Path) -> None:
    assert not (repository / "compact_int8_cpu" / "deepstream").exists()


@pytest.mark.parametrize(("precision", "mode"), [("fp16", "2"), ("int8", "1"), ("fp8", None)])
def test_types_in_the_graph_are_kept_by_an_engine_made_before(
    tmp_path: Path, precision: Precision, mode: str | None
) -> None:
    contract = CONTRACTS[1]
    graph = tiny_graph(contract=contract)
    helper.set_model_props(graph, {"fer_edge.labels": ",".join(contract.labels)})
    folder = tmp_path / "deepstream"
    write_nvinfer(graph.SerializeToString(), folder, contract, precision, max_batch=16)
    found = read(folder)
    assert set(found) <= KNOWN
    assert found.get("network-mode") == mode
    # nvinfer would build from it what has other types; without it a missing engine is an error.
    assert "onnx-file" not in found
    text = (folder / "config_infer.txt").read_text()
    assert "trtexec --onnx=model.onnx --stronglyTyped" in text
    assert f"--saveEngine={found['model-engine-file']} " in text
    assert "--minShapes=faces:1x3x64x64 " in text
    assert "--maxShapes=faces:16x3x64x64\n" in text


@pytest.mark.parametrize("contract", CONTRACTS, ids=str)
def test_networks_of_somebody_else(tmp_path: Path, contract: Contract) -> None:
    graph = tiny_graph(contract=contract)
    helper.set_model_props(graph, {"fer_edge.labels": ",".join(contract.labels)})
    folder = tmp_path / "deepstream"
    write_nvinfer(graph.SerializeToString(), folder, contract, "fp32", max_batch=16)
    assert read(folder)["infer-dims"] == f"3;{contract.size};{contract.size}"
    assert (folder / "labels.txt").read_text() == ";".join(contract.labels) + "\n"
    faces, given = colours(contract, 8)
    # The product of the tiny graph may round otherwise from session to session.
    np.testing.assert_allclose(
        asked(folder / "model.onnx", given), asked(graph.SerializeToString(), faces), atol=1e-6
    )


def test_a_label_with_a_semicolon_stays_one(tmp_path: Path) -> None:
    contract = Contract(labels=("sad; angry", "happy"))
    graph = tiny_graph(contract=contract)
    helper.set_model_props(graph, {"fer_edge.labels": ",".join(contract.labels)})
    write_nvinfer(graph.SerializeToString(), tmp_path / "a", contract, "fp32", max_batch=16)
    assert (tmp_path / "a" / "labels.txt").read_text() == "sad, angry;happy\n"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_tensorrt_builds_it(repository: Path, precision: Precision) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="needs the extra rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    graph = repository / f"compact_{precision}" / "deepstream" / "model.onnx"
    assert parser.parse(graph.read_bytes())
    profile = builder.create_optimization_profile()
    profile.set_shape("faces", (1, 3, 48, 48), (32, 3, 48, 48), (32, 3, 48, 48))
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config)


def test_the_graph_is_left_as_it_is() -> None:
    graph = load_graph(Artifact.load(carried_model()).read("fp32.onnx"))
    before = graph.SerializeToString()
    made = for_nvinfer(graph, Contract())
    onnx.checker.check_model(made, full_check=True)
    assert graph.SerializeToString() == before
    assert made.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
