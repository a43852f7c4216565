import json
from types import SimpleNamespace

import pytest

from fer_edge.engines.tensorrt import EngineLayer, inspect_engine
from fer_edge.engines.tensorrt.inspector import read_layers
from fer_edge.errors import BackendUnavailableError, EngineLoadError

from ..fakes import FakeContext, FakeEngine, FakeTensorRT

# The forms that NVIDIA's documentation shows; nothing here ran on a GPU.
VECTORISED = "Thirty-two wide channel vectorized row major Int8 format"
TENSORRT_10 = {
    "Name": "one.a + one.a/relu",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "x", "Dimensions": [8, 32, 24, 24], "Format/Datatype": VECTORISED}],
    "Outputs": [{"Name": "y", "Dimensions": [8, 64, 24, 24], "Format/Datatype": VECTORISED}],
    "Weights": {"Type": "Int8", "Count": 18432},
    "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32",
    "Metadata": "[ONNX Layer: one.a]\x1e[ONNX Layer: one.a/relu]",
}
TENSORRT_11 = {
    "Name": "one.b_myl0_1",
    "LayerType": "correlation",
    "Inputs": [{"Name": "x", "Format": "Row major linear", "Datatype": "Half"}],
    "Outputs": [{"Name": "y", "Format": "Row major linear", "Datatype": "Half"}],
    "Metadata": "[ONNX Layer: one.b]",
}


def report(*layers: object) -> str:
    return json.dumps({"Layers": layers, "Bindings": ["faces", "probabilities"]})


def test_tensorrt_10_is_read() -> None:
    (layer,) = read_layers(report(TENSORRT_10))
    assert layer == EngineLayer(
        name="one.a + one.a/relu",
        type="CaskConvolution",
        nodes=("one.a", "one.a/relu"),
        inputs=("int8",),
        outputs=("int8",),
        weights="int8",
        tactic=TENSORRT_10["TacticName"],
    )
    assert layer.runs_int8


def test_tensorrt_11_is_read() -> None:
    (layer,) = read_layers(report(TENSORRT_11))
    assert (layer.nodes, layer.inputs, layer.weights) == (("one.b",), ("float16",), None)
    assert not layer.runs_int8


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        ({"TacticName": ""}, True),
        ({"TacticName": "", "Inputs": [{"Datatype": "Half"}]}, False),
        ({"TacticName": "", "Weights": {"Type": "Half"}}, False),
        ({"TacticName": "", "Weights": {}, "ConvWeights": {"Type": "Int8"}}, True),
        ({"TacticName": "", "Weights": {}, "Inputs": []}, False),
    ],
)
def test_int8_needs_data_and_weights_of_int8(change: dict, runs: bool) -> None:
    (layer,) = read_layers(report(TENSORRT_10 | change))
    assert layer.runs_int8 is runs


def test_without_metadata_the_name_tells_the_nodes() -> None:
    (layer,) = read_layers(report(TENSORRT_10 | {"Metadata": ""}))
    assert layer.nodes == ("one.a", "one.a/relu")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"Layers": ["one.a", "one.b"]}', '{"Layers": 1}']
)
def test_a_report_without_layers_is_an_error(text: str) -> None:
    with pytest.raises(EngineLoadError, match="does not describe its layers"):
        read_layers(text)


class Inspector:
    """Answers only once it has a context whose input has a shape."""

    execution_context: FakeContext | None = None

    def get_engine_information(self, layer_format: str) -> str:
        assert layer_format == "json"
        assert self.execution_context is not None
        assert self.execution_context.shape == (8, 1, 48, 48)
        return report(TENSORRT_10, TENSORRT_11)


def test_an_engine_is_asked_at_a_batch_size(
    fake_tensorrt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fake_tensorrt, "LayerInformationFormat", SimpleNamespace(JSON="json"), raising=False
    )
    monkeypatch.setattr(FakeEngine, "create_engine_inspector", lambda _: Inspector(), raising=False)
    layers = inspect_engine(b"plan", "tensorrt", batch=8)
    assert [layer.nodes[0] for layer in layers] == ["one.a", "one.b"]
    assert fake_tensorrt.deleted == ["context", "engine", "runtime"]


def test_what_keeps_an_engine_from_being_asked(fake_tensorrt: FakeTensorRT) -> None:
    fake_tensorrt.context_works = False
    with pytest.raises(EngineLoadError, match="cannot make an execution context"):
        inspect_engine(b"plan", "tensorrt", batch=8)
    fake_tensorrt.gpu.count = 0
    with pytest.raises(BackendUnavailableError):
        inspect_engine(b"plan", "tensorrt", batch=8)
