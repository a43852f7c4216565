"""What every script here shares: its results as JSON, with how and where they came about."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from fer_edge.bench.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def record(path: Path, result: dict[str, Any]) -> None:
    """Write ``result`` with the command that made it and the machine."""
    module = sys.modules["__main__"].__spec__
    script = (
        [f"bench/{Path(sys.argv[0]).name}"]
        if module is None
        else ["-m", module.name.removesuffix(".__main__")]
    )
    origin = {
        "command": shlex.join(["python", *script, *sys.argv[1:]]),
        "machine": describe_machine().model_dump(mode="json"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(origin | result, indent=1) + "\n")


def runtime_arguments(description: str | None, **seconds: float) -> argparse.ArgumentParser:
    """FER2013 and where results go; ``seconds`` is the default of an option of that name."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    for name, value in seconds.items():
        parser.add_argument(f"--{name}", type=float, default=value)
    return parser


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown; the first column is text."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
