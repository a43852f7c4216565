"""Networks that plain INT8 breaks, and what becomes of them.

python bench/outliers.py MODEL --data fer2013.zip
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from recording import RESULTS, record

from fer_edge import metrics
from fer_edge.bench.latency import measure_latencies
from fer_edge.data import FaceDataset, load_dataset
from fer_edge.engines import run_all
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.export.graph.view import GraphView, copy_of, set_constant
from fer_edge.export.importing.sources import open_source
from fer_edge.export.quantization.calibration import calibrate
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.search import search
from fer_edge.export.quantization.table import CalibrationTable

FACTOR = 512.0
CHANNELS = 3

# Makers and takers of the channels.
STREAMS = {
    "channels between two convolutions": (["stages.1.residual.0"], ["stages.1.residual.3"]),
    "channels of a residual sum": (
        ["stages.3.residual.3", "stages.3.skip.0"],
        ["stages.4.residual.0", "stages.4.skip.0"],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--max-drop", type=float, default=0.2)
    arguments = parser.parse_args()
    val = load_dataset(arguments.data, "val")
    whole = open_source(arguments.model).graph
    models = {name: with_outliers(whole, *stream) for name, stream in STREAMS.items()}
    models["weights of channels that never fire"] = with_idle_outliers(whole)
    cases = {}
    for name, model in models.items():
        found = search(model, name, val, max_drop=arguments.max_drop)
        forms = {
            "fp32": model,
            "plain INT8": cpu_form(model, calibrate(model, name, val, equalised=False)),
            "INT8 as exported": cpu_form(model, found.model_copy(update={"kept": {}})),
            f"--max-drop {arguments.max_drop:g}": cpu_form(model, found),
        }
        cases[name] = {"rows": score(forms, val), "found": summary(found)}
    record(RESULTS / "outliers.json", {"n": len(val), "cases": cases})
    print("| outliers | graph | val accuracy | same label | faces/s, batch 8 |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, case in cases.items():
        for form, row in case["rows"].items():
            print(
                f"| {name} | {form} | {100 * row['accuracy']:.2f} % | "
                f"{100 * row['agreement']:.2f} % | {row['faces_per_second']:,.0f} |"
            )
        print(f"\n{name}: {case['found']}\n")


def with_outliers(model: onnx.ModelProto, makers: list[str], takers: list[str]) -> onnx.ModelProto:
    """The same function: channels that ``makers`` give and ``takers`` read, scaled and unscaled."""
    out = copy_of(model)
    arrays = {t.name: numpy_helper.to_array(t).copy() for t in out.graph.initializer}
    for layer in makers:
        arrays[f"{layer}.weight"][:CHANNELS] *= FACTOR
        arrays[f"{layer}.bias"][:CHANNELS] *= FACTOR
    for layer in takers:
        arrays[f"{layer}.weight"][:, :CHANNELS] /= FACTOR
    for name, value in arrays.items():
        set_constant(out, name, value)
    return out


def with_idle_outliers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Channels that are zero on every face, read with weights that are far above all others."""
    out, view = copy_of(model), GraphView(model)
    maker, taker = "stages.1.residual.0.bias", "stages.1.residual.3.weight"
    bias, weights = view.array(maker).copy(), view.array(taker).copy()
    bias[:CHANNELS] = -1e4
    weights[:, :CHANNELS] = FACTOR
    set_constant(out, maker, bias)
    set_constant(out, taker, weights)
    return out


def score(forms: dict[str, onnx.ModelProto], val: FaceDataset) -> dict[str, dict[str, float]]:
    engines = {n: OnnxRuntimeEngine(g.SerializeToString(), threads=1) for n, g in forms.items()}
    found = {name: run_all(engine, val.faces).argmax(axis=1) for name, engine in engines.items()}
    speeds = measure_latencies(list(engines.values()), 8, seconds=2.0)
    return {
        name: {
            "accuracy": metrics.accuracy(metrics.confusion_matrix(val.labels, labels)),
            "agreement": float(np.mean(labels == found["fp32"])),
            "faces_per_second": speed.faces_per_second,
        }
        for (name, labels), speed in zip(found.items(), speeds, strict=True)
    }


def summary(table: CalibrationTable) -> dict[str, Any]:
    return {
        "kept": table.kept,
        "layers": len(table.sensitivity),
    }


if __name__ == "__main__":
    main()
