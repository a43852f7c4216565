"""INT8 by every calibration method and switch, and beside what others make of the same weights.

python bench/quantization.py MODEL --data fer2013.zip --name NAME
"""

import argparse
import dataclasses
import itertools
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from recording import RESULTS, record
from rich.progress import track

from fer_edge import metrics
from fer_edge.data import FaceDataset, load_dataset
from fer_edge.engines import run_all
from fer_edge.engines.base import Engine, Faces, Probabilities
from fer_edge.engines.openvino import OpenVinoEngine
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.export.importing.sources import open_source
from fer_edge.export.quantization.calibration import choose_table
from fer_edge.export.quantization.calibrators import methods
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.observation import Observation, calibration_faces, observe_ranges
from fer_edge.export.quantization.sensitivity import divergence
from fer_edge.export.quantization.table import CalibrationTable

DEFAULT_SAMPLES = 512
METHODS = methods()
BATCHES = (1, 64)
REACHES = (1.0, 1.25, 1.5, 255 / 127)
"""The last one has the steps of the graph of record."""
COLUMNS = "val % | same label % | McNemar p | divergence, 1e-3 nats | largest loss of recall"


def main() -> None:
    parser = model_arguments(__doc__)
    parser.add_argument("--samples", default="64,256,512,1024,3589")
    parser.add_argument("--seconds", type=float, default=8.0, help="per batch size and runtime")
    parser.add_argument("--no-speed", action="store_true", help="keep the recorded speed")
    arguments = parser.parse_args()
    val = load_dataset(arguments.data, "val")
    origin = open_source(arguments.model)
    path = RESULTS / f"quantization-{arguments.name}.json"
    counts = [int(n) for n in arguments.samples.split(",")]
    compare = Comparison(origin.graph, val)
    seen = {
        samples: observe_ranges(origin.graph, origin.name, val, samples=samples)
        for samples in {*counts, DEFAULT_SAMPLES}
    }
    rows = []
    for samples, method in track(list(itertools.product(counts, METHODS)), "Calibrations"):
        graph = cpu_form(origin.graph, seen[samples].table(method))
        scored = compare(OnnxRuntimeEngine(graph.SerializeToString()))
        rows.append({"method": method, "samples": samples} | scored)
    table = choose_table("auto", origin.graph, seen[DEFAULT_SAMPLES], val)
    others = switches(origin.graph, seen[DEFAULT_SAMPLES], table, val)
    switched = {
        name: compare(OnnxRuntimeEngine(graph.SerializeToString()))
        for name, graph in track(others.items(), "Switches")
    }
    forms = {"ours": cpu_form(origin.graph, table), "record": quantize(origin.graph, table)}
    engines = build(origin.graph, forms, val)
    peers = {name: compare(make(1)) for name, make in track(engines.items(), "Peers")}
    if arguments.no_speed:
        speed = json.loads(path.read_text())["speed"]
    else:
        speed = measure(engines, val.faces[:, None], arguments.seconds)
    result = {
        "model": origin.name,
        "n": len(val),
        "fp32_accuracy": compare.accuracy,
        "calibrations": rows,
        "chosen": {"method": table.method, "reach": table.reach},
        "switches": switched,
        "runtimes": peers,
        "speed": speed,
    }
    record(path, result)
    plot(result, path.with_suffix(".png"))
    print(markdown(result))


def model_arguments(description: str | None) -> argparse.ArgumentParser:
    """Which model, on which data, and what its results are called."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--name", required=True)
    return parser


def switches(
    model: onnx.ModelProto, observed: Observation, table: CalibrationTable, val: FaceDataset
) -> dict[str, onnx.ModelProto]:
    """The form for CPUs without one of its parts each, by the method of ``table``."""
    uneven = observe_ranges(model, table.model, val, samples=table.samples, equalised=False)
    both_signs_alike = dataclasses.replace(observed, cpu_only=()).table(table.method, table.reach)
    return {
        "as exported": cpu_form(model, table),  # With one of the reaches below.
        "channels not evened out": cpu_form(model, uneven.table(table.method, table.reach)),
        "biases not corrected": cpu_form(model, table.model_copy(update={"shifts": {}})),
        "sums: as far below zero as above": cpu_form(model, both_signs_alike),
        **{
            f"after a ReLU: {reach:.3g} times the range": cpu_form(
                model, table.model_copy(update={"reach": reach})
            )
            for reach in REACHES
        },
    }


class Comparison:
    """Scores of an engine against the float32 graph in ONNX Runtime, on the same faces."""

    def __init__(self, model: onnx.ModelProto, data: FaceDataset) -> None:
        self.data = data
        with OnnxRuntimeEngine(model.SerializeToString()) as engine:
            self.reference = run_all(engine, data.faces)
        self.matrix = metrics.confusion_matrix(data.labels, self.reference.argmax(axis=1))
        self.accuracy = metrics.accuracy(self.matrix)

    def __call__(self, engine: Engine) -> dict[str, Any]:
        with engine:
            found: Probabilities = run_all(engine, self.data.faces)
        labels, expected, predicted = (
            self.data.labels, self.reference.argmax(axis=1), found.argmax(axis=1),
        )  # fmt: skip
        matrix = metrics.confusion_matrix(labels, predicted)
        recalls = metrics.recalls(matrix)
        losses = {k: v - recalls[k] for k, v in metrics.recalls(self.matrix).items()}
        worst = max(losses, key=lambda name: losses[name])
        return {
            "accuracy": metrics.accuracy(matrix),
            "agreement": float((predicted == expected).mean()),
            "mcnemar_p": metrics.mcnemar_p(expected == labels, predicted == labels),
            "divergence": divergence(self.reference, found),
            "largest_recall_loss": {worst: losses[worst]},
        }


def build(
    model: onnx.ModelProto, forms: dict[str, onnx.ModelProto], val: FaceDataset
) -> dict[str, Callable[[int], Engine]]:
    """What is compared, by name; each opens an engine on so many threads."""
    import nncf
    import openvino

    faces = calibration_faces(val, DEFAULT_SAMPLES, 0)
    fp32 = model.SerializeToString()
    ours, record = (forms[name].SerializeToString() for name in ("ours", "record"))
    static = static_defaults(model, faces)
    batches = [faces[i : i + 1] for i in range(len(faces))]
    by_nncf = nncf.quantize(
        openvino.Core().read_model(fp32), nncf.Dataset(batches, lambda one: {"faces": one})
    )
    onnx_by_nncf = nncf.quantize(
        onnx.load_from_string(fp32), nncf.Dataset(batches, lambda one: {"faces": one})
    ).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(by_nncf, f"{folder}/nncf.xml", compress_to_fp16=False)
        xml = Path(folder, "nncf.xml").read_bytes()
        weights = Path(folder, "nncf.bin").read_bytes()
    return {
        "ONNX Runtime, fp32": lambda n: OnnxRuntimeEngine(fp32, threads=n),
        "ONNX Runtime, ours": lambda n: OnnxRuntimeEngine(ours, threads=n),
        "ONNX Runtime, quantize_static": lambda n: OnnxRuntimeEngine(static, threads=n),
        "ONNX Runtime, NNCF": lambda n: OnnxRuntimeEngine(onnx_by_nncf, threads=n),
        "OpenVINO, fp32": lambda n: OpenVinoEngine(fp32, threads=n),
        "OpenVINO, bf16": lambda n: OpenVinoEngine(fp32, threads=n, inference_precision="bf16"),
        "OpenVINO, ours": lambda n: OpenVinoEngine(ours, threads=n),
        "OpenVINO, graph of record": lambda n: OpenVinoEngine(record, threads=n),
        "OpenVINO, NNCF": lambda n: _Compiled(xml, weights, n),
    }


def static_defaults(model: onnx.ModelProto, faces: Faces, **options: Any) -> bytes:
    """``quantize_static`` as its documentation begins: pre-processing, then the defaults.

    ``options`` replace some of them.
    """

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(faces[i : i + 16] for i in range(0, len(faces), 16))

        def get_next(self) -> dict[str, Faces] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"faces": batch}

    with tempfile.TemporaryDirectory() as folder:
        source, ready, out = (str(Path(folder, f"{name}.onnx")) for name in "abc")
        onnx.save(model, source)
        quant_pre_process(source, ready)
        quantize_static(ready, out, Reader(), **options)
        return Path(out).read_bytes()


class _Compiled(OpenVinoEngine):
    """NNCF's OpenVINO model, run as :class:`OpenVinoEngine` runs a graph."""

    def __init__(self, xml: bytes, weights: bytes, threads: int) -> None:
        import openvino

        class Core(openvino.Core):
            def read_model(self, _graph: bytes) -> Any:
                return super().read_model(xml, weights)

        original, openvino.Core = openvino.Core, Core
        try:
            super().__init__(b"", precision="int8", threads=threads)
        finally:
            openvino.Core = original


def measure(
    engines: dict[str, Callable[[int], Engine]],
    faces: Faces,
    seconds: float,
    batches: Sequence[int] = BATCHES,
) -> dict[str, dict[str, float]]:
    """Median seconds a call on one thread.

    All take turns, so that what disturbs disturbs all, in an order drawn anew each time: who comes
    before leaves the caches in another state.
    """
    generator = random.Random(0)
    opened = {name: make(1) for name, make in engines.items()}
    times: dict[str, dict[str, float]] = {name: {} for name in opened}
    for batch in batches:
        part = np.ascontiguousarray(faces[:batch])
        calls: dict[str, list[float]] = {name: [] for name in opened}
        for engine in opened.values():
            engine.run(part)
        end = time.perf_counter() + seconds * len(opened)
        while time.perf_counter() < end:
            for name, engine in generator.sample(list(opened.items()), len(opened)):
                started = time.perf_counter()
                engine.run(part)
                calls[name].append(time.perf_counter() - started)
        for name, spent in calls.items():
            times[name][str(batch)] = statistics.median(spent)
    return times


def ratios(result: dict[str, Any], name: str) -> list[float]:
    """Speed beside fp32 of the same runtime, by batch size."""
    base = f"{name.partition(',')[0]}, fp32"
    speed = result["speed"]
    return [speed[base][str(n)] / speed[name][str(n)] for n in BATCHES]


def markdown(result: dict[str, Any]) -> str:
    rows = {(r["samples"], r["method"]): r for r in result["calibrations"]}
    lines = [
        f"| faces | {' | '.join(METHODS)} |",
        "| --- |" + " ---: |" * len(METHODS),
    ]
    for samples in dict.fromkeys(samples for samples, _ in rows):
        cells = [
            f"{100 * r['accuracy']:.2f}, {100 * r['agreement']:.1f}, {1e3 * r['divergence']:.2f}"
            for r in (rows[samples, method] for method in METHODS)
        ]
        lines.append(f"| {samples:,} | {' | '.join(cells)} |")
    title = f"{result['chosen']['method']}, {DEFAULT_SAMPLES} faces"
    lines += ["", score_table(title, result["switches"])]
    lines += [
        "",
        f"| runtime and graph | {COLUMNS} "
        "| ms, batch 1 | beside fp32 | ms, batch 64 | beside fp32 |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, r in result["runtimes"].items():
        one, many = ratios(result, name)
        spent = [1e3 * result["speed"][name][str(n)] for n in BATCHES]
        lines.append(
            f"| {name} | {scores(r)} | {spent[0]:.2f} | {one:.2f}x | {spent[1]:.1f} | {many:.2f}x |"
        )
    return "\n".join(lines)


def score_table(title: str, rows: dict[str, dict[str, Any]]) -> str:
    """What :class:`Comparison` says of each graph, in Markdown."""
    lines = [f"| {title} | {COLUMNS} |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    return "\n".join([*lines, *(f"| {name} | {scores(row)} |" for name, row in rows.items())])


def scores(row: dict[str, Any]) -> str:
    """The cells of :data:`COLUMNS`."""
    ((emotion, loss),) = row["largest_recall_loss"].items()
    return (
        f"{100 * row['accuracy']:.2f} | {100 * row['agreement']:.2f} | {row['mcnemar_p']:.2g} "
        f"| {1e3 * row['divergence']:.2f} | {f'{emotion} {100 * loss:.1f}' if loss > 0 else 'none'}"
    )


def plot(result: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for method in METHODS:
        rows = [r for r in result["calibrations"] if r["method"] == method]
        left.plot(
            [r["samples"] for r in rows], [1e3 * r["divergence"] for r in rows], "o-", label=method
        )
    left.set(
        xscale="log",
        xlabel="calibration faces",
        ylabel="divergence from fp32, 1e-3 nats",
        title=f"{result['model']}: calibration methods",
        ylim=(0, None),
    )
    left.set_xticks(counts := sorted({r["samples"] for r in result["calibrations"]}), counts)
    left.minorticks_off()
    left.legend()
    names = [name for name in result["runtimes"] if not name.endswith("fp32")]
    places = np.arange(len(names))
    for shift, batch, color, index in ((-0.2, 1, "#0072b2", 0), (0.2, 64, "#d55e00", 1)):
        values = [ratios(result, name)[index] for name in names]
        right.barh(places + shift, values, 0.38, label=f"batch {batch}", color=color)
    right.axvline(1, color="black", linewidth=0.8)
    right.set_yticks(
        places,
        [f"{name}\n{100 * result['runtimes'][name]['accuracy']:.2f} %" for name in names],
    )
    right.invert_yaxis()
    right.set(
        xlabel="faces/s beside fp32 of the same runtime, one thread",
        title=f"speed and val accuracy (fp32 {100 * result['fp32_accuracy']:.2f} %, "
        f"± {100 * _error(result):.2f})",
    )
    right.legend()
    figure.savefig(path, dpi=110)


def _error(result: dict[str, Any]) -> float:
    p = result["fp32_accuracy"]
    return math.sqrt(p * (1 - p) / result["n"])


if __name__ == "__main__":
    main()
