import numpy as np
import pytest

from fer_edge.contract import EMOTIONS
from fer_edge.errors import CalibrationError
from fer_edge.export.graph.view import copy_of, set_constant
from fer_edge.export.quantization.calibrators import methods
from fer_edge.export.quantization.observation import Observation, calibration_faces, observe_ranges
from fer_edge.export.quantization.scales import scale_of
from tests.export.conftest import run


def test_faces_are_balanced_and_drawn_by_the_seed(faces):
    drawn = calibration_faces(faces, 21, seed=0)
    assert drawn.shape == (21, 1, 48, 48)
    np.testing.assert_array_equal(drawn, calibration_faces(faces, 21, seed=0))
    assert not np.array_equal(drawn, calibration_faces(faces, 21, seed=1))
    lookup = {face.tobytes(): label for face, label in zip(faces.faces, faces.labels, strict=True)}
    labels = [lookup[face.tobytes()] for face in drawn]
    assert np.bincount(labels).tolist() == [3] * 7


def test_more_samples_than_faces_takes_all(faces):
    assert len(calibration_faces(faces, 10_000, seed=0)) == len(faces)


def test_an_absent_emotion_is_named(faces):
    part = faces.subset(np.flatnonzero(faces.labels != 1))
    with pytest.raises(CalibrationError, match=f"no {EMOTIONS[1]} face"):
        calibration_faces(part, 10, seed=0)


def test_minmax_scales_cover_what_the_graph_computes(residual, residual_table, faces):
    uneven = residual_table.zero_points
    for tensor in residual_table.scales.keys() - {"faces/sub"} - uneven.keys():
        (values,) = run(residual, faces.faces, tensor)
        assert residual_table.scales[tensor] == scale_of(np.abs(values).max())
    assert residual_table.scales["faces/sub"] == 1.0


def test_what_only_cpus_quantise_may_reach_further_on_one_side_of_zero(
    residual, residual_table, faces
):
    assert residual_table.zero_points.keys() == {"one.b", "two.b"}
    for tensor, zero in residual_table.zero_points.items():
        (values,) = run(residual, faces.faces, tensor)
        step = residual_table.scales[tensor]
        assert -zero * step == pytest.approx(values.min(), abs=step)
        assert (255 - zero) * step == pytest.approx(values.max(), abs=step)


def test_observing_is_reproducible(plain, faces):
    one, other = (observe_ranges(plain, "plain", faces, samples=140, seed=5) for _ in range(2))
    for method in methods():
        assert one.table(method) == other.table(method)


def test_progress_ends_complete(plain, faces):
    calls = []
    observe_ranges(plain, "plain", faces, samples=20, progress=lambda *a: calls.append(a))
    assert calls[-1] == (20, 20)


def test_a_diverged_model_is_named(plain, faces):
    broken = copy_of(plain)
    set_constant(broken, "stem.bias", np.full(8, np.inf, np.float32))
    with pytest.raises(CalibrationError, match="stem/relu is not finite"):
        observe_ranges(broken, "plain", faces, samples=7)


def test_a_graph_without_names_is_named(plain, faces):
    model = copy_of(plain)
    for node in model.graph.node:
        node.name = ""
    with pytest.raises(CalibrationError, match=r"theirs have no name.* fer-edge import FILE"):
        observe_ranges(model, "theirs", faces)


def test_histograms_give_every_method_without_a_second_pass(residual, faces, tmp_path):
    seen = observe_ranges(residual, "residual", faces, samples=140)
    seen.save(tmp_path / "seen.npz")
    again = Observation.load(tmp_path / "seen.npz")
    for method in methods():
        assert again.table(method) == seen.table(method)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text"])
def test_what_holds_no_histograms_is_refused(content, tmp_path):
    (tmp_path / "seen.npz").write_bytes(content)
    with pytest.raises(CalibrationError, match=r"seen\.npz does not hold the histograms"):
        Observation.load(tmp_path / "seen.npz")


def test_too_few_values_for_a_histogram_are_named(residual, faces):
    observed = observe_ranges(residual, "residual", faces, samples=7)
    with pytest.raises(CalibrationError, match="flat has 112 values, too few"):
        observed.table("entropy")
    assert observed.table("minmax").scales["flat"] > 0
