from pathlib import Path

import numpy as np
import pytest

from fer_edge.contract import Precision
from fer_edge.detector_artifact import DetectionScore
from fer_edge.detector_contract import Bucket
from fer_edge.engines.detector import DetectorEngine, open_detector
from fer_edge.engines.ort import OnnxRuntimeNetwork
from fer_edge.errors import ArtifactError, EngineLoadError, InferenceError, InputError, UsageError
from tests.detection.graphs import FACES, SMALL, WIDE, detector_graph, tiny_detector

from .graphs import make_graph


@pytest.mark.parametrize("backend", ["auto", "onnxruntime-cpu", "openvino"])
def test_a_detector_of_an_artifact_runs_on_every_backend(tmp_path: Path, backend: str) -> None:
    artifact = tiny_detector(tmp_path / "detector", SMALL, WIDE)
    with open_detector(artifact, WIDE, backend=backend, threads=1, device="cpu") as engine:
        info = engine.describe()
        found = engine.run(np.zeros((3, WIDE.height, WIDE.width, 3), np.uint8))
    assert (info.bucket, info.file, info.network.precision) == (WIDE, "128x96.onnx", "fp32")
    assert info.network.backend == ("onnxruntime-cpu" if backend == "auto" else backend)
    assert found.boxes.shape == (3, WIDE.anchors, 4)
    np.testing.assert_allclose(found.boxes[2, 0], FACES[0][0])


def test_what_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(EngineLoadError, match="and is no detector"):
        DetectorEngine(OnnxRuntimeNetwork(make_graph()))
    artifact = tiny_detector(tmp_path / "detector")
    for options, says in (
        ({"precision": "fp12"}, "Unknown precision 'fp12'"),
        ({"backend": "tensorflow"}, "'tensorflow' runs no detector"),
    ):
        with pytest.raises(UsageError, match=says):
            open_detector(artifact, SMALL, **options)
    with pytest.raises(ArtifactError, match="no fp32 graph for frames of 128x96"):
        open_detector(artifact, WIDE)
    (artifact.folder / "64x48.onnx").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="does not match the hash"):
        open_detector(artifact, SMALL)


def test_frames_of_another_size() -> None:
    with DetectorEngine(OnnxRuntimeNetwork(detector_graph(SMALL, FACES))) as engine:
        for frames in (np.zeros((1, 9, 9, 3), np.uint8), np.zeros((0, 48, 64, 3), np.uint8)):
            with pytest.raises(InputError, match=r"Frames must be uint8 \(N, 48, 64, 3\)"):
                engine.run(frames)


def test_scores_that_are_no_numbers() -> None:
    graph = detector_graph(SMALL, [((0, 0, 9, 9), float("nan"))])
    with (
        DetectorEngine(OnnxRuntimeNetwork(graph)) as engine,
        pytest.raises(InferenceError, match="returned NaN at fp32"),
    ):
        engine.run(np.zeros((1, SMALL.height, SMALL.width, 3), np.uint8))


@pytest.mark.parametrize(("matched", "taken"), [(0.985, "fp32"), (0.995, "fp16"), (None, "fp16")])
def test_auto_takes_no_precision_that_loses_faces(
    tmp_path: Path, matched: float | None, taken: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_edge.engines import detector as module

    monkeypatch.setitem(module.ORDERS, "onnxruntime-cpu", ("fp16", "fp32"))
    artifact = tiny_detector(tmp_path / "detector")
    graphs = artifact.manifest.graphs
    graphs["fp16"] = graphs["fp32"]
    if matched is not None:
        artifact.manifest.scores["fp16"] = DetectionScore(
            frames=1,
            faces=1,
            found=1,
            average_precision=1,
            false=0,
            matched=matched,
            data="",
            backend="onnxruntime-cpu",
        )
    assert module._preferred(artifact, "onnxruntime-cpu") == taken


def test_a_bucket_is_what_the_graph_says() -> None:
    with DetectorEngine(OnnxRuntimeNetwork(detector_graph(Bucket(96, 64), FACES))) as engine:
        assert engine.describe().bucket == (96, 64)
