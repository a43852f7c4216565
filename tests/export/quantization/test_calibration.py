import onnx
import pytest

from fer_edge.data import FaceDataset
from fer_edge.engines import run_all
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.errors import CalibrationError
from fer_edge.export.quantization.calibration import calibrate, choose_table
from fer_edge.export.quantization.calibrators import methods
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.observation import Observation, observe_ranges
from fer_edge.export.quantization.sensitivity import divergence
from fer_edge.export.quantization.table import CalibrationTable
from tests.export.conftest import run
from tests.export.graphs import with_outliers


@pytest.fixture(scope="module")
def observed(residual: onnx.ModelProto, faces: FaceDataset) -> Observation:
    return observe_ranges(residual, "residual", faces, samples=140)


def test_auto_takes_the_method_nearest_to_float32(
    residual: onnx.ModelProto, observed: Observation, faces: FaceDataset
) -> None:
    told: list[tuple[int, int]] = []
    table = choose_table("auto", residual, observed, faces, lambda *step: told.append(step))
    steps = len(methods()) + 1
    assert told == [(step, steps) for step in range(1, steps + 1)]

    def probabilities(graph: onnx.ModelProto):
        with OnnxRuntimeEngine(graph.SerializeToString()) as engine:
            return run_all(engine, faces.faces)

    reference = probabilities(residual)

    def loss(table: CalibrationTable) -> float:
        return divergence(reference, probabilities(cpu_form(residual, table)))

    losses = {method: loss(observed.table(method)) for method in methods()}
    assert len(set(losses.values())) > 3
    method = min(losses, key=lambda name: losses[name])
    assert table == min(observed.table(method), observed.table(method, 1.0), key=loss)


def test_auto_passes_over_methods_that_few_values_say_nothing_to(
    residual: onnx.ModelProto, faces: FaceDataset
) -> None:
    observed = observe_ranges(residual, "residual", faces, samples=14)
    for method in ("entropy", "mse", "percentile"):
        with pytest.raises(CalibrationError, match="too few for the histogram"):
            observed.table(method)
    told: list[tuple[int, int]] = []
    table = choose_table("auto", residual, observed, faces, lambda *step: told.append(step))
    assert table.method not in ("entropy", "mse", "percentile")
    assert told[-1] == (len(told), len(told)) == (len(methods()) + 1,) * 2


@pytest.mark.parametrize("method", methods())
def test_a_named_method_is_taken(
    method, residual: onnx.ModelProto, observed: Observation, faces: FaceDataset
) -> None:
    assert choose_table(method, residual, observed, faces) == observed.table(method)


def test_calibrating_observes_and_chooses(
    residual: onnx.ModelProto, observed: Observation, faces: FaceDataset
) -> None:
    told: list[tuple[str, float]] = []
    table = calibrate(
        residual, "residual", faces, samples=140, progress=lambda *step: told.append(step)
    )
    assert table == choose_table("auto", residual, observed, faces)
    assert told[-1] == ("Choice of the method", 1.0)
    assert ("Calibration", 1.0) in told


def test_outliers_are_evened_out_unless_told_otherwise(
    residual: onnx.ModelProto, faces: FaceDataset
) -> None:
    broken = with_outliers(residual, [(["stem", "one.b"], ["one.a", "two.a", "two.skip"])], 2.0**9)
    (wanted,) = run(residual, faces.faces)
    losses = []
    for equalised in (True, False):
        table = calibrate(broken, "broken", faces, method="minmax", equalised=equalised)
        assert any(map(any, table.exponents.values())) == equalised
        losses += [
            divergence(wanted, run(form(broken, table), faces.faces)[0])
            for form in (quantize, cpu_form)
        ]
    assert max(losses[:2]) < 0.01 < 0.1 < min(losses[2:])
