"""From the weights of a detector to its artifact."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime

from fer_edge.artifact import GraphRecord
from fer_edge.contract import Precision
from fer_edge.detector_artifact import DetectorArtifact, DetectorManifest, seal_detector
from fer_edge.detector_contract import BUCKETS, DETECTOR, KIND_KEY, Bucket
from fer_edge.export.counting import count_multiply_adds, count_parameters
from fer_edge.export.detector.network import detector_graph
from fer_edge.export.detector.weights import SHA256, packaged_weights, read_layers
from fer_edge.export.graph import set_metadata
from fer_edge.export.pipeline import check_out
from fer_edge.files import atomic_folder
from fer_edge.version import __version__

MODEL = "retinaface-mobilenet-0.25"
Progress = Callable[[str, float], None]


def make_detector(
    out: Path,
    *,
    sizes: Sequence[Bucket] = BUCKETS,
    progress: Progress | None = None,
) -> DetectorArtifact:
    """Write the artifact of the detector.

    Parameters
    ----------
    out : Path
        Replaced as a whole when everything has succeeded, untouched otherwise.
    sizes : sequence of Bucket
        Of the frames.
    progress : callable, optional

    Raises
    ------
    MissingDependencyError
        The package with the weights is not installed.
    ModelError
        The weights are damaged or others.
    StorageError
        ``out`` cannot be written.
    """
    tell = progress or (lambda _stage, _done: None)
    check_out(None, out)
    layers = read_layers(packaged_weights())
    with atomic_folder(out) as folder:
        graphs: dict[Precision, dict[str, GraphRecord]] = {"fp32": {}}
        multiply_adds, parameters = {}, 0
        for done, size in enumerate(sizes, 1):
            graph = detector_graph(layers, size)
            multiply_adds[str(size)] = count_multiply_adds(graph)
            parameters = count_parameters(graph)
            file = f"fp32-{size}.onnx"
            _write(graph, folder / file, size, "fp32", "record")
            graphs["fp32"][str(size)] = GraphRecord(file=file)
            tell("Graphs", done / len(sizes))
        manifest = DetectorManifest(
            model=MODEL,
            weights=SHA256,
            parameters=parameters,
            multiply_adds=multiply_adds,
            graphs=graphs,
            versions={
                "fer-edge": __version__,
                "onnx": onnx.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
        )
        artifact = seal_detector(folder, manifest)
    return DetectorArtifact(out, artifact.manifest)


def _write(
    graph: onnx.ModelProto,
    path: Path,
    size: Bucket,
    precision: Precision,
    form: Literal["record", "cpu"],
) -> None:
    facts = {
        KIND_KEY.removeprefix("fer_edge."): DETECTOR,
        "model": MODEL,
        "precision": precision,
        "form": form,
        "size": str(size),
        "weights": SHA256,
        "input": f"uint8 BGR frames (N, {size.height}, {size.width}, 3), normalised inside",
        "version": __version__,
    }
    set_metadata(graph, facts)
    path.write_bytes(graph.SerializeToString(deterministic=True))
