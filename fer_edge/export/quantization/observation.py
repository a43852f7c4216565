"""One pass over the calibration faces: how large the values of each tensor are."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from fer_edge.contract import PIXEL_MEAN
from fer_edge.data import FaceDataset
from fer_edge.engines.base import Faces
from fer_edge.errors import CalibrationError
from fer_edge.export.graph.inner_tensors import observe
from fer_edge.export.graph.pixels import centred_pixels
from fer_edge.export.graph.view import GraphView, graph_hash, layer_hashes
from fer_edge.export.quantization.bias_correction import RoundedWeights
from fer_edge.export.quantization.calibrators import largest_magnitude
from fer_edge.export.quantization.equalisation import channel_exponents, equalise
from fer_edge.export.quantization.integer_operators import means_for_floats
from fer_edge.export.quantization.magnitudes import Magnitudes
from fer_edge.export.quantization.placement import (
    Placement,
    check_any,
    place,
    quantised_layers,
    reading,
)
from fer_edge.export.quantization.scales import scale_of, uneven
from fer_edge.export.quantization.table import CalibrationTable
from fer_edge.files import atomic_path, storage_errors
from fer_edge.version import __version__

REACH = 1.25
LOPSIDED = 0.5
"""A tensor reaches below zero by less than this share of what it reaches above where the form for
CPUs has steps for what it reaches alone."""


def calibration_faces(data: FaceDataset, samples: int, seed: int) -> np.ndarray:
    """Draw faces balanced over the emotions, as far as each has them.

    Parameters
    ----------
    data : FaceDataset
    samples : int
        How many faces; all of them if there are fewer.

    Returns
    -------
    uint8 array, shape (samples, channels, size, size)

    Raises
    ------
    CalibrationError
        An emotion has no face at all.
    """
    chosen = balanced(data, samples, seed)
    return data.batch(chosen)


def balanced(data: FaceDataset, samples: int, seed: int) -> NDArray[np.int64]:
    """Indices, ascending, of faces as :func:`calibration_faces` draws them."""
    # What is none of the seven emotions, such as contempt, most data have no face of.
    known = {name: count for name, count in data.counts().items() if name not in data.unknown}
    absent = [name for name, count in known.items() if count == 0]
    if absent:
        raise CalibrationError(
            f"The calibration data has no {absent[0]} face; scales measured on it would be blind "
            "to one emotion.",
            hint=f"Calibrate on data with all of {', '.join(known)}.",
        )
    generator = np.random.default_rng(seed)
    labels = np.asarray(data.labels)
    queues = [generator.permutation(np.flatnonzero(labels == i)) for i in range(len(data.classes))]
    rounds = [
        queue[depth]
        for depth in range(max(map(len, queues)))
        for queue in queues
        if depth < len(queue)
    ]
    return np.sort(rounds[:samples])


_DAMAGED = (
    *(ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, MemoryError),
    *(RuntimeError, OverflowError, struct.error, zipfile.BadZipFile, zlib.error),
)
"""What numpy, zipfile and json raise at histograms that were cut or changed."""


@dataclass(frozen=True)
class Observation:
    """What one pass over the calibration faces saw: enough for a table by any method."""

    model: str
    graph: str
    layers: dict[str, str]
    exponents: dict[str, list[int]]
    samples: int
    seed: int
    data: str
    centred: str
    """The tensor of the centred pixels, whose scale is 1; empty where no layer reads such."""
    cpu_only: tuple[str, ...]
    """Tensors that only the form for CPUs quantises."""
    magnitudes: dict[str, Magnitudes]
    shifts: dict[str, list[float]]
    """As :class:`CalibrationTable` has them; they depend on no method."""
    floating: dict[str, str] = field(default_factory=dict)
    """As :class:`CalibrationTable` has them."""
    kept: dict[str, str] = field(default_factory=dict)
    """Layers that take one of them, and so stay in floating point."""

    def table(self, method: str, reach: float = REACH) -> CalibrationTable:
        """Scales by ``method``.

        Parameters
        ----------
        method : str
            One of :func:`~fer_edge.export.quantization.calibrators.methods`.
        reach : float
            As :class:`~fer_edge.export.quantization.table.CalibrationTable` has it.

        Raises
        ------
        CalibrationError
            As :func:`~fer_edge.export.quantization.calibrators.largest_magnitude` has it.
        """
        # pixel - 128 is an int8 already.
        scales, zero_points, lows = ({self.centred: 1.0} if self.centred else {}), {}, {}
        for tensor, observed in self.magnitudes.items():
            largest = largest_magnitude(method, observed, tensor)
            scales[tensor] = scale_of(largest)
            if tensor in self.cpu_only and observed.extremes[0] < 0:
                scales[tensor], zero_points[tensor] = uneven(largest, observed.extremes)
            elif -largest * LOPSIDED < observed.extremes[0] < 0:
                lows[tensor] = float(f"{observed.extremes[0]:.5g}")
        return CalibrationTable(
            model=self.model,
            graph=self.graph,
            layers=self.layers,
            exponents=self.exponents,
            method=method,
            samples=self.samples,
            seed=self.seed,
            data=self.data,
            versions={
                "fer-edge": __version__,
                "onnxruntime": onnxruntime.__version__,
                "numpy": np.__version__,
            },
            scales=scales,
            zero_points=zero_points,
            lows=lows,
            reach=reach,
            shifts=self.shifts,
            floating=self.floating,
            kept=self.kept,
        )

    def save(self, path: Path) -> None:
        """Write the histograms to a ``.npz`` file."""
        facts = {
            "model": self.model,
            "graph": self.graph,
            "layers": self.layers,
            "exponents": self.exponents,
            "samples": self.samples,
            "seed": self.seed,
            "data": self.data,
            "centred": self.centred,
            "cpu_only": self.cpu_only,
            "shifts": self.shifts,
            "floating": self.floating,
            "kept": self.kept,
            "tensors": list(self.magnitudes),
        }
        seen = list(self.magnitudes.values())
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                facts=np.array(json.dumps(facts)),
                counts=np.stack([one.counts for one in seen]),
                relative=np.stack([one.relative for one in seen]),
                ranges=np.array(
                    [(o.limit, o.maximum, o.batch_maxima, o.batches, *o.extremes) for o in seen]
                ),
            )

    @classmethod
    def load(cls, path: Path) -> "Observation":
        """Read what :meth:`save` wrote; CalibrationError if it is something else."""
        with storage_errors(path):
            data = path.read_bytes()
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                seen = [file[name] for name in ("counts", "relative", "ranges")]
            magnitudes = {}
            for name, bins, fine, row in zip(facts.pop("tensors"), *seen, strict=True):
                one = Magnitudes()
                one.counts, one.relative = bins, fine
                one.limit, one.maximum, one.batch_maxima = map(float, row[:3])
                one.batches, one.extremes = int(row[3]), (float(row[4]), float(row[5]))
                magnitudes[name] = one
            facts["cpu_only"] = tuple(facts["cpu_only"])
            return cls(**facts, magnitudes=magnitudes)
        except _DAMAGED as error:
            raise CalibrationError(
                f"{path} does not hold the histograms of a calibration by this version.",
                hint="Make them with: fer-edge calibrate RUN --data FER2013",
            ) from error


def observe_ranges(
    model: onnx.ModelProto,
    name: str,
    data: FaceDataset,
    *,
    samples: int = 512,
    seed: int = 0,
    equalised: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Observation:
    """Run the float32 graph on faces and keep a histogram of every tensor to be quantised.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    name : str
        Name of the model, for the table.
    data : FaceDataset
    samples : int
        Faces, balanced over the emotions.
    seed : int
        Decides which faces.
    equalised : bool
        Even out the channels first; see :mod:`fer_edge.export.quantization.equalisation`.
    progress : callable(done, total), optional

    Raises
    ------
    CalibrationError
        An emotion is absent, or a tensor is not finite, or all are constant on all faces, or the
        graph is not one that FER-Edge exported.
    ExportError
        The rules quantise no layer of the graph.
    """
    return observe_samples(
        model,
        name,
        calibration_faces(data, samples, seed),
        seed=seed,
        fingerprint=data.fingerprint,
        equalised=equalised,
        progress=progress,
    )


def observe_samples(
    model: onnx.ModelProto,
    name: str,
    faces: Faces,
    *,
    seed: int,
    fingerprint: str,
    equalised: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Observation:
    """As :func:`observe_ranges`, on samples that have been chosen: faces, or frames of a detector.

    Parameters
    ----------
    faces : uint8 array, shape (N, ...)
        What the graph takes.
    seed, fingerprint
        How and from what they were chosen, for the table.
    """
    centred = _centred_input(model, name)
    check_any(GraphView(model), place(model), name)
    hashes = graph_hash(model), layer_hashes(model)
    exponents = channel_exponents(model, faces) if equalised else {}
    model = equalise(model, exponents)
    view = GraphView(model)
    floating = means_for_floats(view, quantised_layers(view))
    while True:
        placement = place(model, floating=floating)
        magnitudes, shifts = _observed(model, placement, faces, centred, progress)
        found = {
            tensor: _without_range(observed.extremes[0], len(faces))
            for tensor, observed in magnitudes.items()
            if observed.extremes[0] == observed.extremes[1]
        }
        if not found:
            break
        # Without them others end what is on integers, and these have not been looked at.
        floating |= found
        if len(found) == len(magnitudes):
            tensor, reason = next(iter(found.items()))
            raise CalibrationError(
                f"{tensor} is {reason}; and so is every other that INT8 of {name} would need.",
                hint="Calibrate on more or on other faces with --samples and --data.",
            )
    kept = {
        layer: f"its input {tensor} is {floating[tensor]}"
        for layer, tensor in reading(view, floating).items()
    }
    return Observation(
        name,
        *hashes,
        exponents,
        len(faces),
        seed,
        fingerprint,
        centred,
        placement.cpu_activations,
        magnitudes,
        shifts,
        floating,
        kept,
    )


def _without_range(value: float, faces: int) -> str:
    number = "zero" if value == 0 else f"{value:.3g}"
    return f"{number} on all {faces} calibration faces, so it has no range"


def _observed(
    model: onnx.ModelProto,
    placement: Placement,
    faces: Faces,
    centred: str,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, Magnitudes], dict[str, list[float]]]:
    """Magnitudes of the tensors to be quantised, and the shifts of layers."""
    tensors = [t for t in (*placement.activations, *placement.cpu_activations) if t != centred]
    magnitudes = {tensor: Magnitudes() for tensor in tensors}
    rounding = RoundedWeights(model, placement.layers)
    done = 0
    observed_too = [tensor for tensor in rounding.inputs if tensor not in magnitudes]
    for values in observe(model, [*tensors, *observed_too], faces):
        rounding.add(dict(zip([*tensors, *observed_too], values, strict=True)))
        for tensor, value in zip(tensors, values, strict=False):
            if not np.isfinite(value).all():
                raise CalibrationError(
                    f"{tensor} is not finite on the calibration faces.",
                    hint="The training has diverged; train again with a lower --lr.",
                )
            magnitudes[tensor].add(value)
        done += len(values[0])
        if progress:
            progress(done, len(faces))
    return magnitudes, rounding.shifts()


def _centred_input(model: onnx.ModelProto, name: str) -> str:
    """The tensor that is pixel - 128, if a layer reads it; else nothing."""
    view = GraphView(model)
    names = [node.name for node in view.nodes]
    if len(set(names)) < len(names) or "" in names:
        raise CalibrationError(
            f"Nodes of the graph of {name} have no name of their own, and INT8 goes by names.",
            hint="Bring it in with: fer-edge import FILE",
        )
    found = centred_pixels(view)
    if found is None or found.zero != PIXEL_MEAN or found.offsets is not None:
        return ""
    return found.tensor if found.tensor in place(model).activations else ""
