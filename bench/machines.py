"""The carried model on emulated processors: does each give the labels of the proof?

python -m bench.machines --data fer2013.zip

Seconds are those of the emulator, not of the processor.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.progress import track

from bench.recording import record, runtime_arguments
from fer_edge.data import load_dataset
from tests.machines.emulation import MACHINES, UnavailableError, answer
from tests.machines.record import answers


def main() -> None:
    parser = runtime_arguments(__doc__)
    parser.add_argument("--faces", type=int, default=400, help="first faces of val")
    parser.add_argument("--precision", nargs="+", default=["int8", "fp32"])
    options = parser.parse_args()
    data = load_dataset(options.data, "val")
    faces, labels = data.faces[: options.faces], np.asarray(data.labels[: options.faces])
    expected = answers(faces)

    def measure(machine: Any, precision: str, work: Path) -> dict[str, Any]:
        told = {"machine": str(machine), "has": machine.instructions, "precision": precision}
        try:
            found, seconds = answer(machine, precision, faces, work)
        except UnavailableError as error:
            return told | {"skipped": str(error)}
        proof = expected[precision]
        chosen = found.argmax(axis=1)
        return told | {
            "agreement": float((chosen == proof.argmax(axis=1)).mean()),
            "largest_difference": float(np.abs(found - proof).max()),
            "accuracy": float((chosen == labels).mean()),
            "emulated_seconds_per_face": round(seconds, 3),
        }

    with TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        work = [(machine, precision) for machine in MACHINES for precision in options.precision]
        jobs = [pool.submit(measure, *one, Path(folder)) for one in work]
        rows = [job.result() for job in track(jobs, "Emulating")]
    result = {
        "faces": len(faces),
        "accuracy": {
            precision: float((rows.argmax(axis=1) == labels).mean())
            for precision, rows in expected.items()
        },
        "machines": rows,
    }
    record(options.out / "machines.json", result)


if __name__ == "__main__":
    main()
