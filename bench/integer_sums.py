"""Labels and speed of INT8 as uint8 x int8 and as uint8 x uint8, beside FP32.

python bench/integer_sums.py --data fer2013.zip

On a processor with AVX2 and no VNNI the first form saturates.
"""

import time

import numpy as np
import onnxruntime
from recording import record, runtime_arguments, table

from fer_edge import metrics
from fer_edge.artifact import Artifact
from fer_edge.data import load_dataset
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.engines.integer_products import IntegerProducts, integer_products
from fer_edge.engines.ort import session_options
from fer_edge.models.carried import carried_model

BATCHES = (1, 8, 64)
FORMS = {
    "INT8, uint8 x int8": IntegerProducts("uint8 x int8", exact=False),
    "INT8, uint8 x uint8": IntegerProducts("uint8 x uint8", exact=True),
}


def main() -> None:
    parser = runtime_arguments(__doc__, seconds=30.0)
    arguments = parser.parse_args()
    artifact = Artifact.load(carried_model())
    data = load_dataset(arguments.data, "val")
    sessions = {"FP32": session(artifact.read("fp32.onnx"), None)}
    for name, form in FORMS.items():
        sessions[name] = session(artifact.read("int8.cpu.onnx"), form)
    answers = {name: classify(one, data.faces) for name, one in sessions.items()}
    taken = f"INT8, {integer_products().form}"
    exact = answers["INT8, uint8 x uint8"]
    base = answers["FP32"].argmax(1)
    rows = {}
    times = time_in_turn(sessions, data.faces, arguments.seconds)
    for name, found in answers.items():
        labels = found.argmax(1)
        rows[name] = {
            "accuracy": float((labels == data.labels).mean()),
            "same_label_as_fp32": float((labels == base).mean()),
            "mcnemar_p": metrics.mcnemar_p(base == data.labels, labels == data.labels),
            "same_label_as_exact": float((labels == exact.argmax(1)).mean()),
            "largest_difference_from_exact": float(np.abs(found - exact).max()),
            "ms": times[name],
        }
    result = {
        "onnxruntime": onnxruntime.__version__,
        "faces": len(data),
        "threads": 1,
        "taken_by_the_runtime": str(integer_products()),
        "probe_ms": probe_ms(),
        "rows": rows,
    }
    record(arguments.out / "integer-sums.json", result)
    columns = ["one thread", "val %", "same label as FP32", "McNemar p", "same label as exact sums"]
    columns += ["largest difference", *(f"ms, batch {n}" for n in BATCHES)]
    print(
        table(
            columns,
            [
                [
                    f"{name} (what runs here)" if name == taken else name,
                    f"{100 * row['accuracy']:.2f}",
                    f"{100 * row['same_label_as_fp32']:.2f} %",
                    f"{row['mcnemar_p']:.2g}",
                    "-" if name == "FP32" else f"{100 * row['same_label_as_exact']:.2f} %",
                    "-" if name == "FP32" else f"{row['largest_difference_from_exact']:.2g}",
                    *(f"{row['ms'][n]:.2f}" for n in BATCHES),
                ]
                for name, row in rows.items()
            ],
        )
    )


def session(graph: bytes, form: IntegerProducts | None) -> onnxruntime.InferenceSession:
    options = session_options(1)
    if form is not None:
        form.apply_to(options)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def classify(one: onnxruntime.InferenceSession, faces: Faces) -> Probabilities:
    parts = [one.run(None, {"faces": faces[i : i + 64, None]})[0] for i in range(0, len(faces), 64)]
    return np.concatenate(parts)


def time_in_turn(
    sessions: dict[str, onnxruntime.InferenceSession], faces: Faces, seconds: float
) -> dict[str, dict[int, float]]:
    """Median milliseconds of a call; the sessions take turns."""
    medians: dict[str, dict[int, float]] = {name: {} for name in sessions}
    for batch in BATCHES:
        part = np.ascontiguousarray(faces[:batch, None])
        times: dict[str, list[float]] = {name: [] for name in sessions}
        end = time.perf_counter() + seconds / len(BATCHES)
        while time.perf_counter() < end or len(times["FP32"]) < 6:
            for name, one in sessions.items():
                start = time.perf_counter()
                one.run(None, {"faces": part})
                times[name].append(time.perf_counter() - start)
        for name, own in times.items():
            medians[name][batch] = float(np.median(own[1:])) * 1e3
    return medians


def probe_ms() -> float:
    """Median time of asking the runtime anew."""
    times = []
    for _ in range(20):
        integer_products.cache_clear()
        start = time.perf_counter()
        integer_products()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


if __name__ == "__main__":
    main()
