"""Networks of timm and torchvision at 224x224, brought in and taken to a bench.

    python bench/foreign_networks.py convnext_atto vit_tiny_patch16_224 --out build/foreign.json

No weights are fetched: those inside are random, batch norms have the statistics of rendered faces,
and the classifier is fitted to such faces by least squares. So accuracy says nothing here; whether
INT8 keeps the labels does.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from fer_edge import Recognizer
from fer_edge.bench.machine import describe_machine
from fer_edge.bench.suite import run_bench
from fer_edge.data import FaceDataset, synthetic_dataset
from fer_edge.emotions import EMOTIONS
from fer_edge.errors import FerEdgeError
from fer_edge.export.graph.view import GraphView
from fer_edge.export.importing import ImportOptions, import_onnx
from fer_edge.export.pipeline import export_model
from fer_edge.export.quantization.placement import place

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETWORKS = (
    "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_100", "shufflenet_v2_x0_5",
    "densenet121", "efficientnet_b0", "swin_tiny_patch4_window7_224",
)  # fmt: skip
RIDGE = 1.0


def rendered(n: int, seed: int) -> FaceDataset:
    base = synthetic_dataset(n, seed, "val")
    faces = [Image.fromarray(face).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
             for face in base.faces]  # fmt: skip
    pixels = np.stack([np.asarray(face.convert("RGB")).transpose(2, 0, 1) for face in faces])
    return FaceDataset.from_arrays(pixels, base.labels, "val")


def as_trained(pixels: np.ndarray) -> Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (torch.from_numpy(pixels).float() / 255 - mean) / std


class Network(nn.Module):
    def __init__(self, name: str, n: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        if hasattr(torchvision.models, name) and not timm.is_model(name):
            self.body = getattr(torchvision.models, name)()
            self.body.fc = nn.Identity()
        else:
            self.body = timm.create_model(name, num_classes=0)
        faces = rendered(n, seed=6)
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = None
        pixels = as_trained(faces.batch(slice(None)))
        with torch.no_grad():
            self.body.train()
            for part in pixels.split(32):
                self.body(part)
            self.body.eval()
            rows = torch.cat([self.body(part) for part in pixels.split(16)]).double().numpy()
        centred = rows - rows.mean(0)
        truth = np.eye(len(EMOTIONS))[faces.labels]
        ridge = RIDGE * len(rows) * rows.var(0).mean() * np.eye(rows.shape[1])
        weights = np.linalg.solve(centred.T @ centred + ridge, centred.T @ (truth - truth.mean(0)))
        weights *= 3 / (centred @ weights).std()
        self.classifier = nn.Linear(*weights.shape)
        self.classifier.weight.data = torch.from_numpy(weights.T).float()
        self.classifier.bias.data = torch.from_numpy(-rows.mean(0) @ weights).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x))


def measured(name: str, n: int, seconds: float, method: str, folder: Path) -> dict[str, Any]:
    network, data = Network(name, n).eval(), rendered(n, seed=5)
    file = folder / "theirs.onnx"
    with torch.no_grad():
        torch.onnx.export(
            network, (torch.rand(2, 3, SIZE, SIZE),), file, dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("n")},), opset_version=18,
        )  # fmt: skip
    options = ImportOptions(EMOTIONS, scale=255.0, mean=MEAN, std=STD)
    began = time.perf_counter()
    source = import_onnx(file, options).source
    found: dict[str, Any] = {"import_s": time.perf_counter() - began}
    found["difference"] = source.parity["fp32"]
    stages: dict[str, list[float]] = {}
    artifact = export_model(
        source, folder / "artifact", precisions=["fp16", "int8"], data=data, samples=n,
        method=method, backends=["tensorrt-rtx"],
        progress=lambda stage, _done: stages.setdefault(stage, []).append(time.perf_counter()),
    )  # fmt: skip
    found["engines_s"] = {
        stage: times[-1] - times[0] for stage, times in stages.items() if "Engine" in stage
    }
    view, scores = GraphView(source.graph), artifact.manifest.scores
    found |= {
        "layers": len(list(view.layers)),
        "int8_layers": len(place(source.graph, artifact.manifest.graphs["int8"].kept).layers),
        "kept": artifact.manifest.graphs["int8"].kept,
        "fp16_labels_kept": scores["fp16"].agreement_with_fp32,
        "int8_labels_kept": scores["int8"].agreement_with_fp32,
        "engines": [engine.file for engine in artifact.manifest.engines],
    }
    with Recognizer(artifact.folder, precision="fp32", tune=False) as recognizer:
        found["labels_given"] = len(set(recognizer(data.faces).labels.tolist()))
    bench = run_bench(artifact.folder, batches=[1], precisions=["fp32", "int8"], seconds=seconds)
    found["ms"] = {row.precision: row.latency[0].p50_ms for row in bench.precisions}
    found["parameters"] = artifact.manifest.parameters
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, metavar="NETWORK")
    parser.add_argument("--faces", type=int, default=112)
    parser.add_argument("--method", default="minmax")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=Path("build/foreign-networks.json"))
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            try:
                results[name] = measured(
                    name, options.faces, options.seconds, options.method, Path(folder)
                )
            except FerEdgeError as error:
                results[name] = {"error": f"{error.message} {error.hint or ''}"}
        print(name, json.dumps({k: v for k, v in results[name].items() if k != "kept"}))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        recorded = {
            "faces": options.faces, "method": options.method, "networks": results,
            "machine": describe_machine().model_dump(mode="json"),
        }  # fmt: skip
        options.out.write_text(json.dumps(recorded, indent=2) + "\n")


if __name__ == "__main__":
    main()
