"""What quantising each layer alone costs."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pydantic
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fer_edge import metrics
from fer_edge.contract import INPUT_NAME, OUTPUT_NAME
from fer_edge.data import FaceDataset
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.export.graph.view import (
    copy_of,
    finish,
    outputs_axis,
    replace_nodes,
    set_constant,
)
from fer_edge.export.quantization.bias_correction import shifted
from fer_edge.export.quantization.observation import balanced
from fer_edge.export.quantization.opening import open_graph
from fer_edge.export.quantization.placement import main_branch
from fer_edge.export.quantization.scales import quantized_weights
from fer_edge.export.quantization.table import CalibrationTable, LayerSensitivity
from fer_edge.files import cache_folder, without_cache, write_text

_GATES = "gates"
_BATCH = 32


class GatedGraph:
    """A float32 graph in which every layer's quantisation has a switch.

    One session measures any choice of layers: each quantised input and weight is chosen by a gate
    at run time, and a closed gate leaves the float32 value, bit for bit.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    table : CalibrationTable
        Made from this graph.
    """

    def __init__(self, model: onnx.ModelProto, table: CalibrationTable) -> None:
        opened = open_graph(model, table, kept=(), shifted=False)
        placement, view = opened.placement, opened.view
        self.layers = placement.layers
        out = copy_of(opened.model)
        index = {layer: position for position, layer in enumerate(self.layers)}
        identities = dict(placement.identities)
        set_constant(out, "zero", np.array(0, np.int8))
        nodes: list[onnx.NodeProto] = []
        for layer, position in index.items():
            which = set_constant(out, f"{layer}/position", np.array(position, np.int64))
            nodes.append(helper.make_node("Gather", [_GATES, which], [_gate(layer)]))
        for node in out.graph.node:
            layer, inputs = node.name, []
            if layer in index:
                inputs = [0]
                weights = node.input[1]
                rounded = set_constant(
                    out,
                    f"{weights}/rounded",
                    quantized_weights(view.array(weights), outputs_axis(node)),
                )
                node.input[1] = _choose(nodes, layer, rounded, weights, f"{weights}/chosen")
                if layer in table.shifts:
                    bias = node.input[2]
                    moved = set_constant(
                        out, f"{bias}/shifted", shifted(view.array(bias), table.shifts[layer])
                    )
                    node.input[2] = _choose(nodes, layer, moved, bias, f"{bias}/chosen")
            elif node.name in identities:
                main = main_branch(view, node)
                if main in index:
                    layer, inputs = main, [identities[node.name]]
            for position in inputs:
                tensor = node.input[position]
                real = f"{node.name}/{tensor}/rounded"
                scale = set_constant(
                    out, f"{tensor}/scale", np.array(table.scales[tensor], np.float32)
                )
                nodes += [
                    helper.make_node("QuantizeLinear", [tensor, scale, "zero"], [f"{real}/int8"]),
                    helper.make_node("DequantizeLinear", [f"{real}/int8", scale, "zero"], [real]),
                ]
                node.input[position] = _choose(nodes, layer, real, tensor, f"{real}/chosen")
            nodes.append(node)
        replace_nodes(out, nodes)
        out.graph.input.append(
            helper.make_tensor_value_info(_GATES, TensorProto.BOOL, [len(self.layers)])
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Its rewrites of Q/DQ would move them over the gates.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(
            finish(out).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, faces: Faces, quantised: Collection[str]) -> Probabilities:
        """Probabilities with the layers named in ``quantised`` in INT8, the others in float32.

        Parameters
        ----------
        faces : uint8 array, shape (N, channels, size, size)
        quantised : collection of str

        Returns
        -------
        float32 array, shape (N, labels)
        """
        gates = np.array([layer in quantised for layer in self.layers])
        return np.concatenate(
            [
                self._session.run(
                    [OUTPUT_NAME], {INPUT_NAME: faces[start : start + _BATCH], _GATES: gates}
                )[0]
                for start in range(0, len(faces), _BATCH)
            ]
        )


def divergence(reference: Probabilities, probabilities: Probabilities) -> float:
    """Mean Kullback-Leibler divergence of ``probabilities`` from ``reference``, in nats."""
    p, q = reference.astype(np.float64), probabilities.astype(np.float64)
    tiny = np.finfo(np.float32).tiny
    return float((p * np.log(np.maximum(p, tiny) / np.maximum(q, tiny))).sum(axis=1).mean())


def measure_sensitivity(
    model: onnx.ModelProto,
    table: CalibrationTable,
    data: FaceDataset,
    *,
    samples: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, LayerSensitivity]:
    """Quantise each layer alone, and compare with float32 on faces balanced over the emotions.

    Layers measured before, by this or an interrupted call, are read from the cache folder.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    table : CalibrationTable
        Made from this graph.
    data : FaceDataset
    samples : int
        Faces to compare on.
    progress : callable(done, total), optional

    Returns
    -------
    dict
        Layer to :class:`LayerSensitivity`, in graph order.

    Raises
    ------
    CalibrationError
        The table is of another graph, or an emotion has no face.
    """
    chosen = data.subset(balanced(data, samples, table.seed))
    faces, labels = chosen.batch(slice(None)), np.asarray(chosen.labels)
    cache = _cache(table, chosen)
    known = _read(cache)
    graph = GatedGraph(model, table)
    reference = None
    for done, layer in enumerate(graph.layers):
        if progress:
            progress(done, len(graph.layers))
        if layer in known:
            continue
        if reference is None:
            reference = graph.run(faces, ())
        known[layer] = _compare(reference, graph.run(faces, {layer}), labels, chosen.classes)
        with without_cache():
            write_text(cache, _Known.dump_json(known).decode())
    if progress:
        progress(len(graph.layers), len(graph.layers))
    return {layer: known[layer] for layer in graph.layers}


_Known = pydantic.TypeAdapter(dict[str, LayerSensitivity])


def _compare(
    reference: Probabilities,
    probabilities: Probabilities,
    labels: NDArray[np.int64],
    classes: Sequence[str],
) -> LayerSensitivity:
    before, after = (
        metrics.confusion_matrix(labels, p.argmax(axis=1), len(classes))
        for p in (reference, probabilities)
    )
    recalls = metrics.recalls(after, classes)
    return LayerSensitivity(
        divergence=divergence(reference, probabilities),
        accuracy_drop=metrics.accuracy(before) - metrics.accuracy(after),
        recall_drop={
            name: r - recalls[name]
            for name, r in metrics.recalls(before, classes).items()
            if not np.isnan(r)
        },
    )


def _cache(table: CalibrationTable, faces: FaceDataset) -> Path:
    digest = hashlib.sha256()
    tables = (sorted(one.items()) for one in (table.exponents, table.scales, table.shifts))
    for part in (table.graph, *tables, faces.fingerprint):
        digest.update(repr(part).encode())
    return cache_folder() / "sensitivity" / f"{digest.hexdigest()[:32]}.json"


def _read(cache: Path) -> dict[str, LayerSensitivity]:
    try:
        return _Known.validate_json(cache.read_bytes())
    except (OSError, ValueError):
        return {}


def _gate(layer: str) -> str:
    return f"{layer}/gate"


def _choose(nodes: list[onnx.NodeProto], layer: str, quantised: str, real: str, name: str) -> str:
    nodes.append(helper.make_node("Where", [_gate(layer), quantised, real], [name]))
    return name
