"""What the graphs of an artifact score on a data set."""

from collections.abc import Callable

import onnx

from fer_edge.artifact import Artifact, Score
from fer_edge.data import FaceDataset
from fer_edge.engines import open_engine
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.evaluation import score
from fer_edge.evaluation.robustness import robustness
from fer_edge.export.quantization.calibration import Progress


def score_graphs(
    artifact: Artifact,
    data: FaceDataset,
    faults: bool,
    tell: Progress,
    unrounded: onnx.ModelProto | None,
) -> Score:
    """Score what CPUs run, into the manifest, and hold the INT8 graph of record against its form
    for CPUs.

    Parameters
    ----------
    artifact : Artifact
    data : FaceDataset
    faults : bool
        On spoilt faces, too.
    tell : callable
    unrounded : onnx.ModelProto, optional
        What the precisions are held against in the place of the FP32 graph.

    Returns
    -------
    Score
        Of what they are held against.
    """
    base = reference = None
    if unrounded is not None:
        with OnnxRuntimeEngine(unrounded.SerializeToString()) as engine:
            told = _fraction(tell, "Accuracy before weights were rounded")
            base, reference = score(engine, data, progress=told)
    for precision, record in artifact.manifest.graphs.items():
        with open_engine(artifact, precision=precision, backend="onnxruntime-cpu") as engine:
            result, probabilities = score(
                engine,
                data,
                reference=reference,
                progress=_fraction(tell, f"Accuracy of {precision}"),
            )
            if faults:
                spoilt = _fraction(tell, f"Accuracy of {precision} on spoilt faces")
                result.faults = robustness(engine, data, progress=spoilt)
        artifact.manifest.scores[precision] = result
        if base is None:
            base, reference = result, probabilities
        if record.cpu_file is not None:
            with OnnxRuntimeEngine(artifact.read(record.file)) as engine:
                _, recorded = score(
                    engine, data, progress=_fraction(tell, f"Agreement of {record.file}")
                )
            same = recorded.argmax(axis=1) == probabilities.argmax(axis=1)
            record.cpu_agreement = float(same.mean())
    assert base is not None
    return base


def _fraction(tell: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(stage, done / total)
