"""Faces per second of a training step on a CPU, with and without what fer-edge does for it.

python bench/training_speed.py efficientnet-lite0 compact

Each figure is the median of several steps in a process of its own; the ways take turns.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from recording import RESULTS, record, table
from rich.progress import track

from fer_edge.models import build_model
from fer_edge.training.depthwise import speed_up_depthwise
from fer_edge.training.memory import keep_memory

WAYS = ("torch", "memory kept", "memory kept, depthwise")
WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way is not None:
        print(measure(arguments))
        return
    cases = [(model, precision) for model in arguments.models for precision in arguments.precision]
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    jobs = [(*case, way) for case in cases for _ in range(arguments.turns) for way in WAYS]
    for model, precision, way in track(jobs, "Training steps"):
        command = [sys.executable, __file__, model, "--precision", precision, "--way", way]
        for name in ("batch", "size", "steps"):
            command += [f"--{name}", str(getattr(arguments, name))]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        ways = found.setdefault(model, {}).setdefault(precision, {})
        ways.setdefault(way, []).append(float(told))
    medians = {
        model: {
            precision: {way: statistics.median(speeds) for way, speeds in ways.items()}
            for precision, ways in by_precision.items()
        }
        for model, by_precision in found.items()
    }
    record(
        arguments.out / "training-speed.json",
        {
            "batch": arguments.batch,
            "size": arguments.size,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "faces_per_second": medians,
            "runs": found,
        },
    )
    rows = [
        [model, precision, *(f"{speed:.0f}" for speed in ways.values())]
        for model, by_precision in medians.items()
        for precision, ways in by_precision.items()
    ]
    print(table(["model", "precision", *WAYS], rows))


def measure(arguments: argparse.Namespace) -> float:
    """Faces per second of forward, backward and optimiser, eager."""
    (name,), (precision,) = arguments.models, arguments.precision
    if arguments.way != WAYS[0]:
        keep_memory()
    torch.manual_seed(0)
    model = build_model(name).train().to(memory_format=torch.channels_last)
    if arguments.way == WAYS[2]:
        speed_up_depthwise(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.001, 0.9, nesterov=True)
    faces = torch.randn(arguments.batch, 1, arguments.size, arguments.size)
    labels = torch.randint(7, (arguments.batch,))
    seconds = []
    for _ in range(WARM_UP + arguments.steps):
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(faces)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return arguments.batch / statistics.median(seconds[WARM_UP:])


if __name__ == "__main__":
    main()
