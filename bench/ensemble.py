"""Teachers, with mirrored faces averaged, and all of them together on val.

python -m bench.ensemble compact compact-camera nano --data fer2013.zip
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.recording import record, runtime_arguments, table
from fer_edge.artifact import Artifact
from fer_edge.data import FaceDataset, load_dataset
from fer_edge.engines import open_engine, run_all
from fer_edge.metrics import standard_error
from fer_edge.models.published import find_model


def main() -> None:
    parser = runtime_arguments(__doc__)
    parser.add_argument("models", nargs="+", help="name or folder of an artifact, of gray faces")
    parser.add_argument("--name", default="ensemble", help="of the record")
    arguments = parser.parse_args()
    val = load_dataset(arguments.data, "val")
    both = {Path(name).name: _both_ways(find_model(name), val) for name in arguments.models}
    models = {name: measured(found, val) for name, found in both.items()}
    models["all together"] = measured(np.mean(list(both.values()), axis=0), val)
    result = {"n": len(val), "models": models, "same_label": same_labels(both)}
    record(arguments.out / f"{arguments.name}.json", result)
    print(shown(models))


def _both_ways(folder: Path, val: FaceDataset) -> NDArray[np.float32]:
    """Probabilities of faces and their mirror images, (2, N, labels), in the widest precision."""
    artifact = Artifact.load(folder)
    precision = next(iter(artifact.manifest.graphs))
    faces = np.asarray(val.faces)
    with open_engine(artifact, precision=precision, backend="onnxruntime-cpu") as engine:
        return np.stack([run_all(engine, faces), run_all(engine, faces[..., ::-1].copy())])


def measured(both: NDArray[np.float32], val: FaceDataset) -> dict[str, float]:
    """Accuracy on faces as they are, and of the mean over both ways."""
    as_they_are, mirrored = (
        float((seen.argmax(1) == val.labels).mean()) for seen in (both[0], both.mean(axis=0))
    )
    return {
        "accuracy": as_they_are,
        "mirrored": mirrored,
        "standard_error": standard_error(mirrored, len(val)),
    }


def same_labels(both: dict[str, NDArray[np.float32]]) -> dict[str, dict[str, float]]:
    """Share of faces that two models call alike: how unlike they are."""
    labels = {name: found.mean(axis=0).argmax(1) for name, found in both.items()}
    return {
        one: {
            other: float((labels[one] == labels[other]).mean()) for other in labels if other != one
        }
        for one in labels
    }


def shown(models: dict[str, dict[str, Any]]) -> str:
    columns = ["", "as they are", "mirrored faces averaged"]
    rows = [
        [
            name,
            f"{100 * one['accuracy']:.2f} %",
            f"{100 * one['mirrored']:.2f} ± {100 * one['standard_error']:.2f} %",
        ]
        for name, one in models.items()
    ]
    return table(columns, rows)


if __name__ == "__main__":
    main()
