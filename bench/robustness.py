"""The trained models that are installed on spoilt faces, and on photos that no training has seen:
the half that trainings with ``--hold-out 0.5`` leave out.

python -m bench.robustness --data fer2013.zip --photos expressions.zip
python -m bench.robustness --data fer2013.zip --photos expressions.zip --model nano
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.recording import record, runtime_arguments, table
from fer_edge.artifact import Artifact
from fer_edge.bench.machine import describe_machine
from fer_edge.data import FaceDataset, hold_out, load_dataset
from fer_edge.engines import open_engine
from fer_edge.evaluation import score
from fer_edge.evaluation.robustness import FAULTS, robustness
from fer_edge.models.published import Published, published_models


def main() -> None:
    parser = runtime_arguments(__doc__)
    parser.add_argument("--photos", type=Path, help="a second data set")
    parser.add_argument("--faces", type=int, help="so many of val only")
    parser.add_argument(
        "--model", action="append", help="this one alone, into the record that there is; repeatable"
    )
    arguments = parser.parse_args()
    published = published_models()
    chosen = arguments.model or list(published)
    if unknown := set(chosen) - published.keys():
        parser.error(f"no model {', '.join(unknown)} is installed: {', '.join(published)} are")
    val = load_dataset(arguments.data, "val")
    if arguments.faces:
        val = val.subset(np.arange(len(val)) < arguments.faces)
    photos = held_out_photos(arguments.photos) if arguments.photos else None
    counts = {"faces": len(val), "photos": 0 if photos is None else len(photos)}
    out = arguments.out / "robustness.json"
    models = _recorded(parser, out, counts) if arguments.model else {}
    cpu = describe_machine().cpu
    for name in chosen:
        models[name] = {"cpu": cpu} | measure(published[name], val, photos)
    record(out, {**counts, "models": models})
    print(shown(models))


def held_out_photos(source: Path) -> FaceDataset:
    """The half of a second data set that no training has seen."""
    return hold_out(load_dataset(source, "train"), 0.5)[1]


def _recorded(
    parser: argparse.ArgumentParser, path: Path, counts: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """What a record on the same faces has, each model with the processor that it ran on."""
    found = json.loads(path.read_text())
    if {name: found[name] for name in counts} != counts:
        parser.error(f"{path} is of other faces: run it for all models")
    cpu = found["machine"]["cpu"]
    return {name: {"cpu": cpu} | one for name, one in found["models"].items()}


def measure(model: Published, val: FaceDataset, photos: FaceDataset | None) -> dict[str, Any]:
    """Accuracies in INT8, or the precision that this machine takes where there is none."""
    artifact = Artifact.load(model.folder)
    precision = "int8" if "int8" in artifact.manifest.graphs else "auto"
    with open_engine(artifact, precision=precision, backend="onnxruntime-cpu") as engine:
        clean, _ = score(engine, val)
        found: dict[str, Any] = {"precision": engine.describe().precision, "val": clean.accuracy}
        if photos is not None:
            other, _ = score(engine, photos)
            found |= {"photos": other.accuracy, "photos_standard_error": other.standard_error}
        found["faults"] = [one.model_dump() for one in robustness(engine, val)]
    return found


def shown(models: dict[str, dict[str, Any]]) -> str:
    rows = [["as they are", *(f"{100 * one['val']:.1f} %" for one in models.values())]]
    for name, (_, unit, levels) in FAULTS.items():
        for level in levels:
            cells = [
                next(
                    f"{100 * fault['accuracy']:.1f} %"
                    for fault in one["faults"]
                    if (fault["fault"], fault["level"]) == (name, level)
                )
                for one in models.values()
            ]
            rows.append([f"{name}, {level:g} {unit}", *cells])
    if all("photos" in one for one in models.values()):
        rows.append(["other photos", *(f"{100 * one['photos']:.1f} %" for one in models.values())])
    return table(["faces", *models], rows)


if __name__ == "__main__":
    main()
