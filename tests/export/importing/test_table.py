"""The table of foreign networks: each goes all the way, from its file to a bench."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from fer_edge import Recognizer
from fer_edge.bench import latency, suite
from fer_edge.cli.doubts import layers_at_fault
from fer_edge.contract import Contract
from fer_edge.data import FaceDataset
from fer_edge.export import pipeline
from fer_edge.export.importing import ImportOptions, import_onnx
from fer_edge.export.pipeline import export_model
from fer_edge.metrics import AGREEMENT
from tests.export.importing.networks import (
    NETWORKS,
    TESTED,
    Foreign,
    raw,
    rendered,
    resized,
)

try:
    from tests.export.importing.torch_networks import torch_networks

    TABLE = NETWORKS | torch_networks()
except ModuleNotFoundError:
    TABLE = NETWORKS

FACES = 112


def faces_for(contract: Contract) -> FaceDataset:
    """Rendered faces as the network takes them."""
    base = rendered(FACES, TESTED)
    faces = raw(contract.channels, contract.size, FACES, TESTED)
    labels = [contract.labels.index(base.classes[label]) for label in base.labels]
    return FaceDataset.from_arrays(
        faces[:, 0] if contract.color == "gray" else faces,
        np.array(labels),
        "val",
        classes=contract.labels,
    )


def theirs(path: Path, faces: np.ndarray, options: ImportOptions, output: str | None):
    """What the file itself gives, fed as its author would."""
    session = onnxruntime.InferenceSession(_loadable(path), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    last = taken.shape[-1] in (1, 3)
    channels, size = taken.shape[-1 if last else 1], taken.shape[2]
    x = resized(faces.astype(np.float64), size)
    if x.shape[1] < channels:
        x = x.repeat(channels, axis=1)
    if options.color == "bgr":
        x = x[:, ::-1]
    if options.scale is not None:
        mean, std = (np.reshape(v, (-1, 1, 1)) for v in (options.mean or [0], options.std or [1]))
        x = (x / options.scale - mean) / std
    x = x.transpose(0, 2, 3, 1) if last else x
    x = x.astype(np.uint8 if "uint8" in taken.type else np.float32)
    step = taken.shape[0] if isinstance(taken.shape[0], int) else len(x)
    rows = [
        session.run([output or session.get_outputs()[0].name], {taken.name: x[i : i + step]})[0]
        for i in range(0, len(x), step)
    ]
    given = np.concatenate(rows).astype(np.float64)
    if (given >= 0).all() and np.allclose(given.sum(1), 1, atol=1e-4):
        return given
    powers = np.exp(given - given.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _loadable(path: Path) -> Path:
    """The file, or one beside it without the names that ONNX Runtime refuses it for."""
    model = onnx.load(path, load_external_data=False)
    names = [node.name for node in model.graph.node if node.name]
    if len(set(names)) == len(names):
        return path
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, path.with_name("unnamed.onnx"))
    return path.with_name("unnamed.onnx")


def test_the_table_is_of_twenty_networks_and_more():
    assert len(TABLE) >= 20


@pytest.mark.parametrize("name", TABLE)
def test_a_foreign_network_goes_all_the_way(name, tmp_path, monkeypatch):
    # Times and memory have tests of their own; here it counts that there are some.
    monkeypatch.setattr(pipeline, "SPEED_S", 0.001)
    monkeypatch.setattr(latency, "WARM_UP_S", 0.0)
    monkeypatch.setattr(suite, "measure_peak_memory", lambda *_args, **_options: 1.0)
    network: Foreign = TABLE[name]
    file = tmp_path / "theirs.onnx"
    network.write(file)
    imported = import_onnx(file, network.options)
    contract = imported.source.contract
    data = faces_for(contract)

    backends = ["tensorrt-rtx"] if _has_rtx() else []
    artifact = export_model(
        imported.source,
        tmp_path / "artifact",
        precisions=["fp16", "int8"],
        data=data,
        method="minmax",
        samples=FACES,
        backends=backends,
    )

    faces = data.batch(slice(64))
    expected = theirs(file, faces, network.options, network.options.output)
    assert len(set(expected.argmax(1))) > 1, "a network that says one thing shows nothing"
    with Recognizer(artifact.folder, precision="fp32", tune=False) as recognizer:
        found = recognizer(data.faces[:64])
    # Sums of float32 in another order.
    np.testing.assert_allclose(found.probabilities, expected, rtol=0, atol=1e-5)
    assert set(found.emotions) <= set(contract.labels)

    scores = artifact.manifest.scores
    assert scores["fp16"].agreement_with_fp32 >= 0.99
    if scores["int8"].agreement_with_fp32 < AGREEMENT:
        named = "\n".join(layers_at_fault(artifact, data))
        assert any(f"  {node.name} (" in named for node in imported.source.graph.graph.node)
    print(f"{name}: INT8 agrees on {scores['int8'].agreement_with_fp32:.3f}")
    with Recognizer(artifact.folder, precision="int8", tune=False) as recognizer:
        assert recognizer(data.faces[:3]).probabilities.shape[0] == 3
    assert len(artifact.manifest.engines) == 2 * len(backends)
    bench = suite.run_bench(
        artifact.folder, batches=[1], precisions=["fp32", "int8"], threads=1, seconds=0.001
    )
    assert [row.precision for row in bench.precisions] == ["fp32", "int8"]
    assert all(row.latency[0].p50_ms > 0 for row in bench.precisions)


def _has_rtx() -> bool:
    try:
        import tensorrt_rtx  # noqa: F401
    except ImportError:
        return False
    return True
