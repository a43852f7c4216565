"""INT8 sums are exact on every processor, whatever ONNX Runtime's fastest instruction does."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_edge.artifact import Artifact
from fer_edge.data.synthetic import synthetic_dataset
from fer_edge.engines import integer_products as products
from fer_edge.engines import open_engine
from fer_edge.engines.base import run_all
from fer_edge.engines.integer_products import IntegerProducts, integer_products
from fer_edge.engines.ort import OnnxRuntimeEngine, session_options
from fer_edge.errors import BackendUnavailableError
from fer_edge.models.carried import carried_model

from .graphs import make_graph
from .make_integer_probe import TARGET, make_probe

FACES = synthetic_dataset(64).faces


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make the runtime answer the test of each form with True, False or an exception."""

    def answers(**forms: bool | Exception) -> None:
        def sums_are_exact(form: IntegerProducts) -> bool:
            answer = forms[form.form.split()[-1]]
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(products, "_sums_are_exact", sums_are_exact)
        integer_products.cache_clear()

    yield answers
    monkeypatch.undo()
    integer_products.cache_clear()


def with_unsigned_weights(graph: bytes) -> bytes:
    """The same graph with uint8 weights of zero point 128, whose sums no processor saturates."""
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT8:
            value = numpy_helper.to_array(tensor).astype(np.int16) + 128
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.uint8), tensor.name))
    return model.SerializeToString()


def test_the_carried_model_answers_as_exact_sums_do() -> None:
    graph = Artifact.load(carried_model()).read("int8.cpu.onnx")
    with (
        OnnxRuntimeEngine(graph, threads=1) as engine,
        OnnxRuntimeEngine(with_unsigned_weights(graph), threads=1) as exact,
    ):
        np.testing.assert_array_equal(run_all(engine, FACES), run_all(exact, FACES))
        assert engine.describe().integers == str(integer_products())


def test_a_matrix_product_of_somebody_else_is_exact() -> None:
    """Pixels of 255 times weights of 64 and 127, as MatMulInteger, in 32 bits."""
    weights = np.random.default_rng(0).choice([64, 127], (48, 7)).astype(np.int8)
    exact = 255 * weights.astype(np.int64).sum(axis=0)
    nodes = [
        helper.make_node("MatMulInteger", ["faces", "weights"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["means", "total"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["batch", 1, 48, 48])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 7])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.float32(exact.sum()), "total"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    with OnnxRuntimeEngine(model.SerializeToString()) as engine:
        got = engine.run(np.full((2, 1, 48, 48), 255, np.uint8))
    # float32 holds such sums exactly, and their mean over equal rows to its last digit.
    np.testing.assert_allclose(got, np.stack([exact, exact]) / exact.sum(), rtol=1e-6)


def test_the_probe_that_is_shipped_is_the_one_that_is_written_here() -> None:
    assert onnx.load(TARGET) == make_probe()


def test_the_probe_tells_saturated_sums_from_exact_ones() -> None:
    """By arithmetic: pairs of 255 * 127 saturate at 32,767."""
    saturated = round(products.EXACT * 32767 / (2 * 255 * 127))
    assert saturated == 101
    assert not products.are_exact([np.full((1, 4), saturated, np.uint8)])
    assert products.are_exact([np.full((1, 4), products.EXACT, np.uint8)])


def test_a_processor_that_is_exact_keeps_its_fastest_form(asked: Callable[..., None]) -> None:
    asked(int8=True)
    assert integer_products() == IntegerProducts("uint8 x int8", exact=True)
    options = session_options()
    integer_products().apply_to(options)
    with pytest.raises(RuntimeError):
        options.get_session_config_entry("session.x64quantprecision")


def test_a_processor_that_saturates_takes_the_exact_form(asked: Callable[..., None]) -> None:
    asked(int8=False, uint8=True)
    assert str(integer_products()) == ("uint8 x uint8: uint8 x int8 saturates on this processor")
    options = session_options()
    integer_products().apply_to(options)
    assert options.get_session_config_entry("session.x64quantprecision") == "1"


def test_a_test_that_dies_is_no_proof(asked: Callable[..., None]) -> None:
    asked(int8=RuntimeError("illegal instruction\nat 0x0"), uint8=True)
    assert str(integer_products()) == (
        "uint8 x uint8: uint8 x int8 could not be tested (illegal instruction)"
    )


@pytest.mark.parametrize("uint8", [False, RuntimeError("no kernel")])
def test_where_nothing_is_exact_int8_is_refused_and_auto_takes_fp32(
    asked: Callable[..., None], uint8: bool | Exception
) -> None:
    asked(int8=False, uint8=uint8)
    with pytest.raises(BackendUnavailableError, match=r"without changing labels.*fp32"):
        OnnxRuntimeEngine(make_graph("int8"))
    with open_engine(carried_model(), backend="onnxruntime-cpu") as engine:
        info = engine.describe()
    assert info.precision == "fp32"
    assert "without changing labels" in str(info.choice)
    with OnnxRuntimeEngine(make_graph("fp32")) as engine:
        assert engine.describe().integers is None


def test_the_runtime_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = onnxruntime.InferenceSession

    def counted(graph: bytes, *args: object, **options: object) -> object:
        if graph == products.probe_graph():
            made.append(1)
        return original(graph, *args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counted)
    integer_products.cache_clear()
    for _ in range(3):
        OnnxRuntimeEngine(make_graph("int8"))
    assert len(made) == (1 if integer_products().reason is None else 2)
