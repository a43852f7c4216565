"""Calibration: activation scales measured on faces, kept in a portable table."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pydantic

from fer_edge.contract import EMOTIONS
from fer_edge.data import FaceDataset
from fer_edge.errors import CalibrationError
from fer_edge.export.graph import GraphView, graph_hash
from fer_edge.export.observe import observe
from fer_edge.export.placement import place
from fer_edge.export.ranges import Magnitudes, Method
from fer_edge.files import storage_errors, write_text
from fer_edge.version import __version__

SCHEMA = 1
SMALLEST_SCALE = 2.0**-14
"""Smallest normal float16. Scales are float16 numbers, so that a graph cast to float16 for TensorRT
quantises to the same integers as the float32 one."""


class CalibrationTable(pydantic.BaseModel):
    """``calibration.json``: what an INT8 export needs instead of data."""

    model_config = pydantic.ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    model: str
    graph: str
    """Hash of the float32 graph that the scales belong to."""
    method: Method
    samples: int
    seed: int
    data: str
    """Fingerprint of the data set."""
    versions: dict[str, str]
    scales: dict[str, float]
    """Tensor name to scale: one int8 step, in the tensor's own unit."""

    @classmethod
    def load(cls, path: Path) -> "CalibrationTable":
        """Read a table; CalibrationError if it is none."""
        with storage_errors(path):
            text = path.read_bytes()
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: bytes, where: str) -> "CalibrationTable":
        try:
            return cls.model_validate_json(text)
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            reason = ": ".join(filter(None, [".".join(map(str, problem["loc"])), problem["msg"]]))
            raise CalibrationError(
                f"{where} is not a calibration table: {reason}.",
                hint="Calibrate again with: fer-edge export --int8 --data FER2013",
            ) from error

    def save(self, path: Path) -> None:
        write_text(path, self.model_dump_json(indent=2) + "\n")

    def check(self, model: onnx.ModelProto) -> None:
        """Raise CalibrationError unless the table belongs to this float32 graph."""
        placement = place(model)
        wanted = {*placement.activations, *placement.cpu_activations}
        missing = sorted(wanted - self.scales.keys()) or sorted(self.scales.keys() - wanted)
        if missing:
            raise CalibrationError(
                f"The calibration table is of another model ({self.model}): "
                f"the two differ at {missing[0]}.",
                hint="Calibrate this model with --data.",
            )
        if self.graph != graph_hash(model):
            raise CalibrationError(
                f"The calibration table is of other weights of {self.model}.",
                hint="Calibrate this model with --data.",
            )


def scale_of(largest: float) -> float:
    """Scale that covers magnitudes up to ``largest``: the next float16 from largest / 127."""
    scale = np.float16(max(largest / 127, SMALLEST_SCALE))
    if float(scale) * 127 < largest:
        scale = np.nextafter(scale, np.float16(np.inf))
    return float(scale)


def calibration_faces(data: FaceDataset, samples: int, seed: int) -> np.ndarray:
    """Draw faces balanced over the emotions, as far as each has them.

    Parameters
    ----------
    data : FaceDataset
    samples : int
        How many faces; all of them if there are fewer.

    Returns
    -------
    uint8 array, shape (samples, 1, 48, 48)

    Raises
    ------
    CalibrationError
        An emotion has no face at all.
    """
    absent = [name for name, count in data.counts().items() if count == 0]
    if absent:
        raise CalibrationError(
            f"The calibration data has no {absent[0]} face; scales measured on it would be blind "
            "to one emotion.",
            hint="Calibrate on data with all seven emotions.",
        )
    generator = np.random.default_rng(seed)
    labels = np.asarray(data.labels)
    queues = [generator.permutation(np.flatnonzero(labels == i)) for i in range(len(EMOTIONS))]
    rounds = [
        queue[depth]
        for depth in range(max(map(len, queues)))
        for queue in queues
        if depth < len(queue)
    ]
    chosen = np.sort(rounds[:samples])
    return np.ascontiguousarray(data.faces[chosen])[:, None]


def calibrate(
    model: onnx.ModelProto,
    name: str,
    data: FaceDataset,
    *,
    method: Method = "percentile",
    samples: int = 512,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationTable:
    """Measure a scale for every activation that will be quantised.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    name : str
        Name of the model, for the table.
    data : FaceDataset
    method : {"minmax", "percentile", "entropy"}
    samples : int
        Faces, balanced over the emotions.
    seed : int
        Decides which faces.
    progress : callable(done, total), optional

    Raises
    ------
    CalibrationError
        An emotion is absent, or a tensor is zero on all faces or not finite, or the graph is not
        one that FER-Edge exported.
    """
    faces = calibration_faces(data, samples, seed)
    placement = place(model)
    centred = _centred_input(model, name)
    tensors = [t for t in (*placement.activations, *placement.cpu_activations) if t != centred]
    magnitudes = {tensor: Magnitudes() for tensor in tensors}
    done = 0
    for values in observe(model, tensors, faces):
        for tensor, value in zip(tensors, values, strict=True):
            if not np.isfinite(value).all():
                raise CalibrationError(
                    f"{tensor} is not finite on the calibration faces.",
                    hint="The training has diverged; train again with a lower --lr.",
                )
            magnitudes[tensor].add(value)
        done += len(values[0])
        if progress:
            progress(done, len(faces))
    # pixel - 128 is an int8 already.
    scales = {centred: 1.0}
    for tensor, observed in magnitudes.items():
        if observed.maximum == 0.0:
            raise CalibrationError(
                f"{tensor} is zero on all {len(faces)} calibration faces, so it has no range.",
                hint="Calibrate on more or on other faces with --samples and --data.",
            )
        scales[tensor] = scale_of(observed.range(method))
    return CalibrationTable(
        model=name,
        graph=graph_hash(model),
        method=method,
        samples=len(faces),
        seed=seed,
        data=data.fingerprint,
        versions={
            "fer-edge": __version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        },
        scales=scales,
    )


def _centred_input(model: onnx.ModelProto, name: str) -> str:
    nodes = GraphView(model).nodes
    centred = [str(node.output[0]) for node in nodes if node.op_type == "Sub"]
    named = len({node.name for node in nodes}) == len(nodes)
    if not named or centred[:1] != list(place(model).activations[:1]):
        raise CalibrationError(
            f"The graph of {name} was not exported by FER-Edge, and INT8 goes by the form of "
            "those: named nodes that begin with the subtraction of 128 from the pixels.",
            hint="Export it without --int8, or from the training run.",
        )
    return centred[0]
