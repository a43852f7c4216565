import onnx
import pytest

from fer_edge.engines.tensorrt import EngineLayer
from fer_edge.export.inspection.engine_layers import not_int8
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.quantize import quantize


def an_engine_layer(node: str, data: str | None = "int8", weights: str | None = "int8", **more):
    facts = {"type": "CaskConvolution", "tactic": "", "outputs": (data,)} | more
    return EngineLayer(name=node, nodes=(node,), inputs=(data,), weights=weights, **facts)


CONVOLUTIONS = ("stem", "one.a", "one.b", "two.a", "two.b", "two.skip")


@pytest.fixture(scope="module")
def record(residual, residual_table) -> onnx.ModelProto:
    return quantize(residual, residual_table)


def test_an_engine_that_does_what_the_graph_says_has_nothing_to_tell(record) -> None:
    assert not_int8(record, [an_engine_layer(name) for name in CONVOLUTIONS], {}) == {}


def test_each_convolution_that_runs_otherwise_has_its_cause(record) -> None:
    layers = [
        an_engine_layer("stem", "float16"),
        an_engine_layer("one.a", "float16", "float16"),
        an_engine_layer("two.b", "float16"),
        an_engine_layer("two.skip", "float16", None, tactic="sm80_xmma_f16"),
        an_engine_layer("two.a"),
    ]
    found = not_int8(record, layers, {"one.a": "it was too sensitive"})
    assert set(found) == {"stem", "one.a", "one.b", "two.b", "two.skip"}
    assert "1 channels in and 8 out: TensorRT's INT8 convolutions want" in found["stem"]
    assert found["one.a"] == "it was too sensitive"
    assert found["one.b"] == "TensorRT's report on the engine does not name it"
    assert found["two.b"] == "only its weights are int8: its input comes as float16"
    assert found["two.skip"] == "TensorRT took sm80_xmma_f16 on float16"


def test_a_convolution_without_pairs_is_told_so(residual, faces) -> None:
    table = calibrate(residual, "residual", faces, method="minmax", samples=140)
    table.kept = {"two.b": "anything"}
    graph = quantize(residual, table)
    assert not_int8(graph, [], {})["two.b"] == "its input has no Q/DQ pair"
