"""Calibration: from faces to a table, by the method asked for or by the best of all."""

import contextlib
from collections.abc import Callable

import onnx

from fer_edge.data import FaceDataset
from fer_edge.engines import run_all
from fer_edge.engines.base import Probabilities
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.export.quantization.calibrators import FewValuesError, methods
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.observation import (
    REACH,
    Observation,
    calibration_faces,
    observe_ranges,
)
from fer_edge.export.quantization.sensitivity import divergence
from fer_edge.export.quantization.table import CalibrationTable

Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done, 0..1."""

FACES = 512


def choices() -> tuple[str, ...]:
    """What ``--method`` takes."""
    return ("auto", *methods())


def choose_table(
    choice: str,
    model: onnx.ModelProto,
    observed: Observation,
    data: FaceDataset,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationTable:
    """The table by a method, or with ``auto`` by the one whose INT8 graph stays nearest to float32.

    In the form for CPUs what follows a ReLU reaches a quarter more than in the graph of record; the
    nearest method is then tried without that, too. Nearest is the smallest divergence of the
    probabilities on 512 faces of ``data``, balanced over the emotions and drawn otherwise than
    those that calibrate.

    Parameters
    ----------
    choice : str
        One of :func:`choices`.
    model : onnx.ModelProto
        The float32 graph.
    observed : Observation
        Of this graph.
    data : FaceDataset
    progress : callable(done, total), optional

    Raises
    ------
    CalibrationError
        As :meth:`~fer_edge.export.quantization.observation.Observation.table` has it.
    """
    if choice != "auto":
        return observed.table(choice)
    faces = calibration_faces(data, FACES, observed.seed + 1)

    def probabilities(graph: onnx.ModelProto) -> Probabilities:
        with OnnxRuntimeEngine(graph.SerializeToString()) as engine:
            return run_all(engine, faces)

    reference = probabilities(model)
    return nearest_table(
        observed,
        lambda table: divergence(reference, probabilities(cpu_form(model, table))),
        progress=progress,
    )


def nearest_table(
    observed: Observation,
    loss: Callable[[CalibrationTable], float],
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationTable:
    """Of the tables by every method, that with the least loss, with the better range for CPUs.

    Methods that go by a histogram are passed over where a tensor has too few values for one.

    Parameters
    ----------
    observed : Observation
    loss : callable
        How far the INT8 graph of a table is from the float32 graph.
    progress : callable(done, total), optional
    """
    steps = len(methods()) + 1
    losses: list[tuple[float, CalibrationTable]] = []

    def attempt(done: int, method: str, reach: float = REACH) -> None:
        with contextlib.suppress(FewValuesError):
            table = observed.table(method, reach)
            losses.append((loss(table), table))
        if progress:
            progress(done, steps)

    def nearest() -> CalibrationTable:
        return min(losses, key=lambda one: one[0])[1]

    for done, method in enumerate(methods(), 1):
        attempt(done, method)
    attempt(steps, nearest().method, reach=1.0)
    return nearest()


def calibrate(
    model: onnx.ModelProto,
    name: str,
    data: FaceDataset,
    *,
    method: str = "auto",
    samples: int = 512,
    seed: int = 0,
    equalised: bool = True,
    progress: Progress | None = None,
) -> CalibrationTable:
    """Measure a scale for every activation that will be quantised.

    Parameters
    ----------
    method
        As in :func:`choose_table`.
    model, name, data, samples, seed, equalised
        As in :func:`~fer_edge.export.quantization.observation.observe_ranges`.
    progress : callable, optional

    Raises
    ------
    CalibrationError
        As :func:`~fer_edge.export.quantization.observation.observe_ranges` and
        :func:`choose_table`.
    """
    tell = progress or (lambda _stage, _done: None)
    observed = observe_ranges(
        model,
        name,
        data,
        samples=samples,
        seed=seed,
        equalised=equalised,
        progress=lambda done, total: tell("Calibration", done / total),
    )
    return choose_table(
        method,
        model,
        observed,
        data,
        lambda done, total: tell("Choice of the method", done / total),
    )
