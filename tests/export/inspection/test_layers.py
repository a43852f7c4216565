from pathlib import Path

import onnx
import pytest

from fer_edge.artifact import Artifact
from fer_edge.errors import ArtifactError, CalibrationError
from fer_edge.export.inspection.layers import describe_layers, measured_layers
from fer_edge.export.pipeline import export_model
from fer_edge.export.quantization.sensitivity import measure_sensitivity


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, residual, faces) -> Artifact:
    folder = tmp_path_factory.mktemp("layers")
    onnx.save(residual, folder / "residual.onnx")
    return export_model(
        folder / "residual.onnx",
        folder / "out",
        precisions=("fp16", "int8", "fp8"),
        data=faces,
        method="minmax",
        samples=140,
        half_weights=True,
    )


def test_precision_and_fusion_are_read_from_the_graph(artifact: Artifact) -> None:
    layers = {layer.name: layer for layer in describe_layers(artifact, "int8")}
    assert layers["stem"].precision == "int8"
    assert layers["one.b"].fused == ["Add", "Relu"]
    assert layers["two.skip"].fused == []
    assert layers["average"].precision == "fp32"
    assert layers["classifier"].precision == "fp32"
    assert "the classifier" in (layers["classifier"].kept or "")
    assert layers["stem"].shape == [8, 1, 3, 3]
    assert layers["stem"].multiply_adds == 8 * 9 * 24 * 24
    assert layers["stem"].divergence is None


def test_each_precision_has_its_own_types(artifact: Artifact) -> None:
    found = {
        precision: {layer.name: layer.precision for layer in describe_layers(artifact, precision)}
        for precision in ("fp32", "fp16", "fp8")
    }
    assert found["fp32"]["two.b"] == "fp32"
    assert found["fp16"]["two.b"] == "fp16"
    assert found["fp16"]["softmax"] == "fp32"
    # 16 channels in and out; 8 are too few for FP8.
    assert found["fp8"]["two.b"] == "fp8"
    assert found["fp8"]["one.b"] == "fp32"
    kept = {layer.name: layer.kept for layer in describe_layers(artifact, "fp8")}
    assert "multiples of 16" in (kept["one.b"] or "")


def test_sensitivity_is_measured_on_faces(artifact: Artifact, faces) -> None:
    layers = {layer.name: layer for layer in measured_layers(artifact, "int8", faces)}
    assert (layers["stem"].divergence or 0) > 0
    assert layers["classifier"].divergence is None


def test_sensitivity_of_the_table_is_shown(tmp_path: Path, residual, residual_table, faces) -> None:
    table = residual_table.model_copy(
        update={
            "sensitivity": measure_sensitivity(residual, residual_table, faces, samples=70),
            "kept": {"one.a": "it was too sensitive"},
        }
    )
    table.save(tmp_path / "table.json")
    onnx.save(residual, tmp_path / "residual.onnx")
    made = export_model(
        tmp_path / "residual.onnx",
        tmp_path / "out",
        precisions=["int8"],
        calibration=tmp_path / "table.json",
    )
    layers = {layer.name: layer for layer in describe_layers(made, "int8")}
    assert layers["one.b"].divergence == table.sensitivity["one.b"].divergence
    assert layers["one.a"].precision == "fp32"
    assert layers["one.a"].kept == "it was too sensitive"


def test_what_is_not_there_is_said(tmp_path: Path, residual, faces) -> None:
    onnx.save(residual, tmp_path / "residual.onnx")
    bare = export_model(tmp_path / "residual.onnx", tmp_path / "out")
    with pytest.raises(ArtifactError, match="has no int8 graph"):
        describe_layers(bare, "int8")
    with pytest.raises(CalibrationError, match="has no calibration table"):
        measured_layers(bare, "fp32", faces)
