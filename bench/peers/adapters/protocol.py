"""What an adapter in Python answers with: requests come as lines of JSON on standard input.

``{"do": "open", "task": "detect" or "classify", "variant": NAME}`` is answered by ``{"labels":
[...] or null}``, and ``{"do": "answer", "files": [.npy, ...], "begin": 0, "end": N or null}`` by
``{"answers": [...], "ms": [...]}``; what fails, by ``{"error": "one line"}``.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Detect = Callable[[Any], Sequence[Sequence[float]]]
"""From a uint8 frame (H, W, 3), BGR, to rows of x, y, width, height and score."""
Classify = Callable[[Any], Sequence[float]]
"""From a uint8 face (48, 48) to the probabilities of the labels."""


def serve(
    detector: Callable[[str], Detect] | None = None,
    classifier: Callable[[str], tuple[Sequence[str], Classify]] | None = None,
) -> None:
    """Answer until standard input ends.

    Parameters
    ----------
    detector, classifier
        Make what a variant of that name does; the second tells the names of its labels, too.
    """
    # Whatever a package prints must not be in the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                labels = None
                if request["task"] == "detect":
                    assert detector is not None
                    work = detector(request["variant"])
                else:
                    assert classifier is not None
                    labels, work = classifier(request["variant"])
                told: dict[str, Any] = {"labels": labels and list(labels)}
            else:
                told = _answer(work, request)
        except BaseException as error:  # packages end the process by SystemExit, too
            told = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


def _answer(work: Any, request: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    arrays = [np.load(path, allow_pickle=False) for path in request["files"]]
    items = arrays if request["end"] is None else arrays[0][request["begin"] : request["end"]]
    answers, spent = [], []
    for item in items:
        began = time.perf_counter()
        found = work(item)
        spent.append(round(1e3 * (time.perf_counter() - began), 4))
        answers.append(np.asarray(found, np.float64).tolist())
    return {"answers": answers, "ms": spent}
