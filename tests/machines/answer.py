"""Run under an emulator: classify faces with the carried model.

python answer.py PRECISION FACES.npz OUT.npz; FACES.npz holds ``faces``, OUT.npz gets
``probabilities``, and ``seconds`` for one face under the emulator, loading left out.
"""

import sys
import time

import numpy as np

from fer_edge.engines.selection import open_engine
from fer_edge.models.carried import carried_model

BATCH = 16


def main(precision: str, faces_file: str, out: str) -> None:
    faces = np.load(faces_file)["faces"][:, None]
    with open_engine(
        carried_model(), precision=precision, backend="onnxruntime-cpu", threads=1
    ) as engine:
        start = time.perf_counter()
        parts = [engine.run(faces[i : i + BATCH]) for i in range(0, len(faces), BATCH)]
        seconds = (time.perf_counter() - start) / len(faces)
    np.savez(out, probabilities=np.concatenate(parts), seconds=seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
