"""Every registered model in FP32, FP16 and INT8, and beside ONNX Runtime's own static quantiser.

python bench/precisions.py --data fer2013.zip

A model without published weights is measured with random ones (seed 0): they take the same time.
"""

import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType
from quantization import measure, static_defaults
from recording import record, runtime_arguments, table
from rich.progress import track

from fer_edge.data import FaceDataset, load_dataset
from fer_edge.engines import open_engine
from fer_edge.engines.base import Engine, Faces
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.errors import ModelError
from fer_edge.export.graph.view import canonicalise
from fer_edge.export.pipeline import export_model
from fer_edge.export.quantization.observation import balanced
from fer_edge.models import MODELS
from fer_edge.models.carried import carried_model

BATCHES = (1, 8, 64)
PRECISIONS = ("fp32", "fp16", "int8")
PEERS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "uint8 x int8": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8},
    "uint8 x int8 per channel": {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
    },
}
"""Options of ``quantize_static``, by what the table calls them."""


def main() -> None:
    parser = runtime_arguments(__doc__, seconds=4.0)
    parser.add_argument("--models", default=",".join(MODELS), help="which, separated by commas")
    parser.add_argument("--samples", type=int, default=128, help="faces that calibrate")
    arguments = parser.parse_args()
    val = load_dataset(arguments.data, "val")
    chosen = val.subset(balanced(val, arguments.samples, 0))
    names = arguments.models.split(",")
    rows: dict[str, Any] = {}
    for name in track(names, "Models"):
        rows[name] = measured(name, chosen, val.faces[: max(BATCHES), None], arguments.seconds)
        record(arguments.out / "precisions.json", {"samples": len(chosen), "models": rows})
    print(markdown(rows))


def measured(name: str, chosen: FaceDataset, faces: Faces, seconds: float) -> dict[str, Any]:
    """Export a model, and time all that comes of it on one thread, in turn.

    Parameters
    ----------
    name : str
        A registered model.
    chosen : FaceDataset
        Calibrates.
    faces : uint8 array, shape (N, 1, 48, 48)
        What is classified.
    seconds : float
        For each graph and batch size.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, weights = source_of(name, folder)
        artifact = export_model(
            source, folder / "artifact", precisions=PRECISIONS, data=chosen, samples=len(chosen)
        )
        fp32 = onnx.load_from_string(artifact.read(artifact.graph("fp32").file))
        peers = {
            peer: static_defaults(fp32, chosen.faces[:, None], **options)
            for peer, options in PEERS.items()
        }

        def ours(precision: str) -> Any:
            return lambda threads: open_engine(
                artifact, precision=precision, backend="onnxruntime-cpu", threads=threads
            )

        def static(graph: bytes) -> Any:
            return lambda threads: OnnxRuntimeEngine(graph, threads=threads)

        ways = {precision: ours(precision) for precision in PRECISIONS}
        ways |= {f"quantize_static, {peer}": static(graph) for peer, graph in peers.items()}
        with open_engine(artifact, backend="onnxruntime-cpu", threads=1) as engine:
            auto = description(engine)
        return {
            "weights": weights,
            "auto": auto["precision"],
            "int8": description(ours("int8")(1)),
            "in_float32": artifact.graph("int8").cpu_kept,
            "seconds": measure(ways, faces, seconds, BATCHES),
        }


def source_of(name: str, folder: Path) -> tuple[Path, str]:
    """What to export: the carried artifact, or a graph with random weights; and which it is."""
    try:
        return carried_model(name), "carried"
    except ModelError:
        import torch

        from fer_edge.export.importing.torch_export import torch_to_onnx
        from fer_edge.models import build_model

        torch.manual_seed(0)
        model = build_model(name)
        for layer in model.modules():
            # Batch norms that end a residual branch begin at 0, which leaves nothing to quantise.
            if isinstance(layer, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
        path = folder / f"{name}.onnx"
        onnx.save(canonicalise(torch_to_onnx(model.eval(), name)), path)
        return path, "random"


def description(engine: Engine) -> dict[str, Any]:
    """What the engine says of itself."""
    info = engine.describe()
    return {name: str(value) for name, value in vars(info).items() if value is not None}


def markdown(rows: dict[str, Any]) -> str:
    ways = list(next(iter(rows.values()))["seconds"])
    lines = []
    for name, row in rows.items():
        for batch in map(str, BATCHES):
            spent = [1e3 * row["seconds"][way][batch] for way in ways]
            lines.append(
                [name, row["weights"], batch, *(f"{value:.2f}" for value in spent), row["auto"]]
            )
    return table(["model", "weights", "batch", *(f"{way}, ms" for way in ways), "auto"], lines)


if __name__ == "__main__":
    main()
