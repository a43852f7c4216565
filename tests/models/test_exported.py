import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_edge.artifact import Artifact, seal
from fer_edge.data import synthetic_dataset
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.errors import ArtifactError, ModelError
from fer_edge.export.pipeline import export_model
from fer_edge.models import build_model
from fer_edge.models.exported import load_exported, start_from

CARRIED = Path("fer_edge/models/carried/compact")


def check_computes(artifact: Path, graph: Path) -> None:
    """What is loaded from ``artifact`` must compute what ``graph`` does."""
    faces = np.random.default_rng(0).integers(0, 256, (4, 1, 48, 48), np.uint8)
    with OnnxRuntimeEngine(graph.read_bytes()) as engine:
        wanted = engine.run(faces)
    with torch.no_grad():
        logits = load_exported(artifact).eval()((torch.from_numpy(faces).float() - 128) / 64)
    np.testing.assert_allclose(logits.softmax(1).numpy(), wanted, atol=1e-5)


def test_the_carried_model_computes_what_its_graph_does() -> None:
    check_computes(CARRIED, CARRIED / "fp32.onnx")


def test_a_model_that_is_stored_in_int8_alone_computes_what_its_float32_graph_does(
    tmp_path: Path,
) -> None:
    small, whole = tmp_path / "small", tmp_path / "whole"
    data = synthetic_dataset(140, seed=3, split="val")
    export_model(
        *(CARRIED, small), precisions=["int8"], data=data, method="minmax", int8_weights=True
    )
    export_model(small, whole)
    check_computes(small, whole / "fp32.onnx")


def test_an_artifact_of_another_model_is_refused(tmp_path: Path) -> None:
    shutil.copytree(CARRIED, tmp_path / "a")
    manifest = Artifact.load(CARRIED).manifest
    seal(tmp_path / "a", manifest.model_copy(update={"model": "resnet14"}))
    with pytest.raises(ModelError, match=r"has no fitting conv1\.weight"):
        load_exported(tmp_path / "a")


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not an artifact"):
        load_exported(tmp_path)


def test_a_model_starts_as_an_artifact_and_trains_on_from_there() -> None:
    faces = torch.randn(64, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    model = build_model("compact", dropout=0.0)
    start_from(model, CARRIED, faces)
    with torch.no_grad():
        wanted = load_exported(CARRIED).eval()(faces)
        torch.testing.assert_close(model.eval()(faces), wanted, atol=1e-4, rtol=1e-4)
        # The statistics of these faces are those of the batch.
        torch.testing.assert_close(model.train()(faces), wanted, atol=0.05, rtol=0.05)


def test_an_artifact_starts_a_model_with_a_new_head() -> None:
    model = build_model("compact", dropout=0.0)
    head = {name: value.clone() for name, value in model.classifier.state_dict().items()}
    start_from(model, CARRIED, torch.randn(8, 1, 48, 48), new_head=True)
    source = load_exported(CARRIED)
    torch.testing.assert_close(model.classifier.state_dict(), head, rtol=0, atol=0)
    assert torch.equal(model.stem[0].weight, source.stem[0].weight)


def test_weights_of_another_models_artifact_are_refused() -> None:
    with pytest.raises(ModelError, match=r"has shape|belongs to another model"):
        start_from(build_model("nano"), CARRIED, torch.zeros(2, 1, 48, 48))
