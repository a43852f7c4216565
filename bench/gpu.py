"""What only a GPU can tell: one command, one JSON, within an hour.

python bench/gpu.py

Steps run in this order, each in a process of its own with a time limit, so that a crash, a hang or
an error that loses the GPU ends no other step. What cannot run here is skipped, and the JSON says
why. The JSON is written after every step. For all steps: pip install '.[dev]' (torch with CUDA,
ONNX and TensorRT-RTX among it), '.[tensorrt]', onnxruntime-gpu, cupy and numba-cuda.

`--list` names the steps, `--only NAME` runs some of them. Read first, if the hour is short:
`failed`, `crashed` and `timed out` under "status". tests/gpu.md says what each step decides.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_steps import STEPS, Skipped, Step
from recording import RESULTS, record

TAIL = 4000
"""Characters of a step's output that are kept where it did not end well."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json", help="the JSON")
    parser.add_argument("--only", action="append", choices=list(STEPS), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the steps and their limits")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.list:
        for name, step in STEPS.items():
            print(f"{name:24} at most {step.limit_s:4} s  {step.purpose}")
    elif arguments.step:
        take(arguments.step, arguments.work, arguments.seconds)
    else:
        run(arguments.only or list(STEPS), arguments.out, arguments.seconds)


def take(name: str, work: Path, seconds: float) -> None:
    """One step, in a process of its own; its result goes to a file, as libraries print."""
    try:
        outcome = {"status": "done", "result": STEPS[name].take(work, seconds)}
    except Skipped as skipped:
        outcome = {"status": "skipped", "reason": str(skipped)}
    (work / f"{name}.json").write_text(json.dumps(outcome))


def run(names: list[str], out: Path, seconds: float) -> None:
    """All steps, the JSON written after each."""
    started = time.monotonic()
    outcomes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fer-edge-gpu-") as work:
        for name in names:
            print(f"{name}: {STEPS[name].purpose} … ", end="", flush=True)
            command = [sys.executable, __file__, "--step", name, "--work", work]
            command += ["--seconds", str(seconds)]
            outcomes[name] = isolated(command, name, STEPS[name], Path(work))
            print(told(outcomes[name]), flush=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            record(out, {"seconds": time.monotonic() - started, "steps": outcomes})
    print(f"In {out}")


def isolated(command: list[str], name: str, step: Step, work: Path) -> dict[str, Any]:
    """What a step came to: done, skipped, failed, crashed or timed out."""
    environment = {**os.environ, "FER_EDGE_CACHE": str(work / "cache")}
    started = time.monotonic()
    with (work / f"{name}.log").open("w+") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            code = None
            # A process that hangs in the driver ignores anything gentler; so may its children.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.seek(0)
        printed = log.read()
    result = work / f"{name}.json"
    outcome: dict[str, Any] = {"purpose": step.purpose, "seconds": time.monotonic() - started}
    if result.is_file():
        outcome |= json.loads(result.read_text())
    # A result does not excuse a process that then hangs or dies at exit.
    if code is None:
        outcome |= {"status": "timed out", "limit_s": step.limit_s}
    elif code < 0:
        outcome |= {"status": "crashed", "signal": signal.Signals(-code).name}
    elif code or "status" not in outcome:
        outcome |= {"status": "failed", "exit_code": code}
    if outcome["status"] not in ("done", "skipped"):
        outcome["output"] = printed[-TAIL:]
    return outcome


def told(outcome: dict[str, Any]) -> str:
    if outcome["status"] == "skipped":
        return f"skipped: {outcome['reason']}"
    if outcome["status"] == "done":
        return f"done in {outcome['seconds']:.0f} s"
    lines = outcome["output"].strip().splitlines()
    return f"{outcome['status']}: {lines[-1] if lines else 'it printed nothing'}"


if __name__ == "__main__":
    main()
