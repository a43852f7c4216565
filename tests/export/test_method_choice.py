import onnx
import pytest

from fer_edge.data import FaceDataset
from fer_edge.engines import run_all
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.export.calibration import Observation, observe_ranges
from fer_edge.export.method_choice import choose_table
from fer_edge.export.quantize import cpu_form
from fer_edge.export.ranges import METHODS
from fer_edge.export.sensitivity import divergence


@pytest.fixture(scope="module")
def observed(residual: onnx.ModelProto, faces: FaceDataset) -> Observation:
    return observe_ranges(residual, "residual", faces, samples=140)


def test_auto_takes_the_method_nearest_to_float32(
    residual: onnx.ModelProto, observed: Observation, faces: FaceDataset
) -> None:
    told: list[tuple[int, int]] = []
    table = choose_table("auto", residual, observed, faces, lambda *step: told.append(step))
    assert told == [(step, 6) for step in range(1, 7)]

    def probabilities(graph: onnx.ModelProto):
        with OnnxRuntimeEngine(graph.SerializeToString()) as engine:
            return run_all(engine, faces.faces)

    reference = probabilities(residual)
    losses = {
        method: divergence(reference, probabilities(cpu_form(residual, observed.table(method))))
        for method in METHODS
    }
    assert table == observed.table(min(METHODS, key=lambda method: losses[method]))
    assert len(set(losses.values())) > 1


@pytest.mark.parametrize("method", METHODS)
def test_a_named_method_is_taken(
    method, residual: onnx.ModelProto, observed: Observation, faces: FaceDataset
) -> None:
    assert choose_table(method, residual, observed, faces) == observed.table(method)
