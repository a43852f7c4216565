"""Why INT8 changes labels of a network that a few faces drive far beyond all others.

python bench/extreme_faces.py MODEL --data fer2013.zip --name NAME

Takes the rounding of weights and that of activations apart, by every calibration method.
"""

from typing import Any

import numpy as np
import onnx
from quantization import Comparison, model_arguments, score_table
from recording import RESULTS, record
from rich.progress import track

from fer_edge.data import load_dataset
from fer_edge.engines.base import Faces
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.export.graph.inner_tensors import observe
from fer_edge.export.graph.view import copy_of, outputs_axis, set_constant
from fer_edge.export.importing.sources import open_source
from fer_edge.export.quantization.calibrators import methods
from fer_edge.export.quantization.forms.cpu_form import cpu_form
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.observation import calibration_faces, observe_ranges
from fer_edge.export.quantization.opening import open_graph
from fer_edge.export.quantization.placement import place
from fer_edge.export.quantization.scales import quantized_weights
from fer_edge.export.quantization.table import CalibrationTable


def main() -> None:
    arguments = model_arguments(__doc__).parse_args()
    val = load_dataset(arguments.data, "val")
    origin = open_source(arguments.model)
    observed = observe_ranges(origin.graph, origin.name, val)
    compare = Comparison(origin.graph, val)

    def score(graph: onnx.ModelProto) -> dict[str, Any]:
        return compare(OnnxRuntimeEngine(graph.SerializeToString()))

    tables = {method: observed.table(method) for method in methods()}
    rows = {"weights alone": score(weights_rounded(origin.graph, tables["minmax"]))}
    for method, one in track(tables.items(), "Methods"):
        rows[f"{method}, graph of record"] = score(quantize(origin.graph, one))
        rows[f"{method}, form for CPUs"] = score(cpu_form(origin.graph, one))
    result = {
        "model": origin.name,
        "n": len(val),
        "fp32_accuracy": compare.accuracy,
        "spread": spread(origin.graph, calibration_faces(val, 256, 0)),
        "rows": rows,
    }
    record(RESULTS / f"extreme-faces-{arguments.name}.json", result)
    print(f"FP32 {100 * compare.accuracy:.2f} %; spread {result['spread']}")
    print(score_table("INT8", rows))


def weights_rounded(model: onnx.ModelProto, calibration: CalibrationTable) -> onnx.ModelProto:
    """The float32 graph with the weights that INT8 has, and biases corrected for them."""
    opened = open_graph(model, calibration, shifted=True)
    out = copy_of(opened.model)
    for node in opened.view.layers:
        if node.name in opened.placement.layers:
            weights = opened.view.array(node.input[1])
            set_constant(out, node.input[1], quantized_weights(weights, outputs_axis(node)))
    return out


def spread(model: onnx.ModelProto, faces: Faces) -> dict[str, Any]:
    """Of the tensors that INT8 rounds, that in which the face with the largest values is furthest
    beyond the median face: root mean squares, one over the other."""
    tensors = place(model).activations
    found: dict[str, list[float]] = {tensor: [] for tensor in tensors}
    for values in observe(model, tensors, faces):
        for tensor, value in zip(tensors, values, strict=True):
            squares = np.square(value, dtype=np.float64).reshape(len(value), -1).mean(axis=1)
            found[tensor] += np.sqrt(squares).tolist()
    ratios = {name: max(one) / float(np.median(one)) for name, one in found.items()}
    tensor = max(ratios, key=lambda name: ratios[name])
    return {"tensor": tensor, "largest_over_median": round(ratios[tensor], 2)}


if __name__ == "__main__":
    main()
