"""The fastest INT8 graph inside an accuracy budget."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from fer_edge.data import FaceDataset
from fer_edge.engines import run_all
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.errors import CalibrationError
from fer_edge.export.graph.layer_latency import layer_latencies
from fer_edge.export.quantization.calibration import Progress, calibrate
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.sensitivity import measure_sensitivity
from fer_edge.export.quantization.table import CalibrationTable, LayerSensitivity

_PROFILED_FACES = 8
_LEAST_COST = 1e-6
"""Seconds. Timing noise can make INT8 look slower than float32 for a small layer."""


@dataclass
class _Trial:
    table: CalibrationTable
    drop: float
    """Points of accuracy below float32."""


def search(
    model: onnx.ModelProto,
    name: str,
    data: FaceDataset,
    *,
    max_drop: float,
    best_effort: bool = False,
    method: str = "auto",
    samples: int = 512,
    seed: int = 0,
    equalised: bool = True,
    progress: Progress | None = None,
) -> CalibrationTable:
    """Find the INT8 graph that loses at most ``max_drop`` points of accuracy at least cost.

    If INT8 throughout loses more, layers are left in floating point, those first whose divergence
    falls most per microsecond that INT8 would have saved. How many it takes is found by bisection,
    each step confirmed on all of ``data``; at the end every layer is tried in INT8 again, the
    slowest first.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    name : str
        Name of the model, for the table.
    data : FaceDataset
        Calibrates, ranks the layers and confirms.
    max_drop : float
        Points of accuracy, for example 0.2.
    best_effort : bool
        Where the budget cannot be met, return the graph that loses least.
    method
        As in :func:`fer_edge.export.quantization.calibration.choose_table`.
    samples, seed, equalised
        As in :func:`fer_edge.export.quantization.observation.observe_ranges`.
    progress : callable, optional

    Returns
    -------
    CalibrationTable
        With ``kept`` and ``sensitivity``.

    Raises
    ------
    CalibrationError
        No graph with a layer in INT8 meets the budget, or as ``observe_ranges`` has it.
    """
    tell = progress or (lambda _stage, _done: None)
    labels = np.asarray(data.labels)
    trials: list[_Trial] = []

    def accuracy(graph: onnx.ModelProto, stage: str) -> float:
        right = 0
        with OnnxRuntimeEngine(graph.SerializeToString()) as engine:
            for start in range(0, len(labels), 256):
                part = slice(start, start + 256)
                found = run_all(engine, data.faces[part]).argmax(axis=1)
                right += int((found == labels[part]).sum())
                tell(stage, min(start + 256, len(labels)) / len(labels))
        return 100 * right / len(labels)

    base = accuracy(model, "Accuracy of fp32")

    def attempt(table: CalibrationTable) -> _Trial:
        stage = f"Search, trial {len(trials) + 1}"
        trial = _Trial(table, base - accuracy(cpu_form(model, table), stage))
        trials.append(trial)
        return trial

    start = calibrate(
        *(model, name, data),
        method=method,
        samples=samples,
        seed=seed,
        equalised=equalised,
        progress=progress,
    )
    whole = attempt(start)
    start.sensitivity = measure_sensitivity(
        model, start, data, progress=lambda done, total: tell("Sensitivity", done / total)
    )
    if whole.drop <= max_drop:
        return start
    ranked, costs = _ranked(model, start, data)

    def keeping(layers: Sequence[str]) -> _Trial:
        kept = {layer: _reason(start.sensitivity[layer], costs[layer]) for layer in layers}
        return attempt(start.model_copy(update={"kept": start.kept | kept}))

    found: Sequence[str] | None = None
    low, high = 1, len(ranked) - 1
    while low <= high:
        middle = (low + high) // 2
        if keeping(ranked[:middle]).drop <= max_drop:
            found, high = ranked[:middle], middle - 1
        else:
            low = middle + 1
    if found is None:
        best = min(trials, key=lambda trial: trial.drop)
        left_out = len(best.table.kept) - len(start.kept)
        if best_effort:
            return best.table
        raise CalibrationError(
            f"No INT8 graph of {name} stays within {max_drop:g} points of fp32: the best loses "
            f"{best.drop:.2f} with {left_out} of {len(ranked)} layers in floating point.",
            hint="Raise --max-drop, try another --method or more --samples, "
            "or write that graph with --best-effort.",
        )
    for layer in sorted(found, key=lambda layer: -costs[layer]):
        fewer = [other for other in found if other != layer]
        if fewer and keeping(fewer).drop <= max_drop:
            found = fewer
    return next(t.table for t in trials if [*t.table.kept] == [*start.kept, *found])


def _ranked(
    model: onnx.ModelProto, table: CalibrationTable, data: FaceDataset
) -> tuple[list[str], dict[str, float]]:
    """Layers, those first that are best left in floating point; and what that costs, in seconds."""
    layers = table.placement(model).layers
    faces = data.batch(slice(_PROFILED_FACES))
    slow = layer_latencies(model, layers, faces)
    fast = layer_latencies(cpu_form(model, table), layers, faces)
    costs = {layer: max(slow[layer] - fast[layer], _LEAST_COST) for layer in layers}
    order = sorted(layers, key=lambda n: -table.sensitivity[n].divergence / costs[n])
    return order, costs


def _reason(sensitivity: LayerSensitivity, cost: float) -> str:
    return (
        f"in INT8 alone it moves the probabilities by {sensitivity.divergence:.2g} nats, and "
        f"saves {1e6 * cost:.0f} us for {_PROFILED_FACES} faces"
    )
