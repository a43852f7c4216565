"""Time per layer, as ONNX Runtime spends it on this machine's CPU."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from fer_edge.contract import INPUT_NAME
from fer_edge.engines.base import Faces
from fer_edge.engines.integer_products import has_integers, integer_products

RUNS = 20


def layer_latencies(
    model: onnx.ModelProto, layers: Sequence[str], faces: Faces
) -> dict[str, float]:
    """Median seconds per layer and call, with what is fused into it or named after it.

    Parameters
    ----------
    model : onnx.ModelProto
        At any precision.
    layers : sequence of str
        Names of nodes; a layer that the runtime has merged into another takes no time.
    faces : uint8 array, shape (N, channels, size, size)
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_profiling = True
    graph = model.SerializeToString()
    if has_integers(graph):
        integer_products().apply_to(options)
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(RUNS + 3):
            session.run(None, {INPUT_NAME: faces})
        events = json.loads(Path(session.end_profiling()).read_text())
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time")].append(event["dur"] * 1e-6)
    totals = dict.fromkeys(layers, 0.0)
    longest_first = sorted(layers, key=len, reverse=True)
    for node, spent in times.items():
        owner = next((layer for layer in longest_first if _named_after(node, layer)), None)
        if owner is not None:
            totals[owner] += float(np.median(spent))
    return totals


def _named_after(node: str, layer: str) -> bool:
    return node.startswith(layer) and node[len(layer) :][:1] in ("", "/", "_")
