"""Record a training run, and write the table of all recorded ones into bench/README.md.

python bench/training_results.py add runs/compact --recipe compact --data fer2013.zip
python bench/training_results.py table
"""

import argparse
import json
import shutil
from pathlib import Path

from fer_edge.bench.machine import describe_machine
from fer_edge.data import load_dataset
from fer_edge.export.importing.torch_export import read_run
from fer_edge.metrics import standard_error

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "training"
README = HERE / "README.md"
BEGIN = (
    "<!-- figures: not recorded, bench/training_results.py makes this table of its records -->\n"
)
END = "<!-- end of training table -->\n"


def add(run: Path, recipe: str, data: Path, note: str) -> None:
    known = read_run(run)
    config, best = known["config"], known["best_epoch"]
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    n = len(load_dataset(data, "val"))
    accuracy = best["val_accuracy"]
    machine = describe_machine()
    record = {
        "recipe": recipe,
        "model": config["model"],
        "data": config["data"],
        "epochs": config["epochs"],
        "epochs_run": len(epochs),
        "best_epoch": best["epoch"],
        "seed": config["seed"],
        "val": {
            "n": n,
            "accuracy": accuracy,
            "standard_error": standard_error(accuracy, n),
            "macro_f1": best["val_macro_f1"],
            "recall": best["val_recall"],
        },
        "train_accuracy": best["train_accuracy"],
        "minutes": sum(epoch["seconds"] for epoch in epochs) / 60,
        "faces_per_second": sum(epoch["faces_per_second"] for epoch in epochs) / len(epochs),
        "loader_share": sum(epoch["loader_share"] for epoch in epochs) / len(epochs),
        "machine": f"{machine.cpu}, {machine.cores} cores, {', '.join(machine.gpus) or 'no GPU'}",
        "note": note,
        "config": config,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{recipe}.json").write_text(json.dumps(record, indent=1) + "\n")
    for name in ("metrics.jsonl", "curves.png", "confusion_matrix.png"):
        if (run / name).is_file():
            shutil.copyfile(run / name, RESULTS / f"{recipe}-{name.replace('_', '-')}")


def table() -> str:
    """The recorded runs as Markdown, best first."""
    records = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    records.sort(key=lambda record: -record["val"]["accuracy"])
    lines = [
        "| recipe | data | epochs run, planned | val accuracy (n) | macro-F1 | disgust recall | "
        "train | minutes, faces/s | CPU | curves, confusion | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |",
    ]
    for record in records:
        name, val = record["recipe"], record["val"]
        lines.append(
            f"| [{name}](../export/{name}.toml) | {', '.join(record['data'])} "
            f"| {record['epochs_run']}, {record['epochs']} "
            f"| {100 * val['accuracy']:.2f} ± {100 * val['standard_error']:.2f} % ({val['n']:,}) "
            f"| {100 * val['macro_f1']:.1f} % | {100 * val['recall']['disgust']:.0f} % "
            f"| {100 * record['train_accuracy']:.1f} % "
            f"| {record['minutes']:.0f}, {record['faces_per_second']:,.0f} "
            f"| {record['machine'].partition(',')[0].replace('(R)', '')} "
            f"| {_pictures(name)} | {record['note']} |"
        )
    return "\n".join(lines) + "\n"


def _pictures(name: str) -> str:
    kept = {"curves": f"{name}-curves.png", "confusion": f"{name}-confusion-matrix.png"}
    links = [
        f"[{what}](results/training/{file})"
        for what, file in kept.items()
        if (RESULTS / file).is_file()
    ]
    return ", ".join(links) or "not kept"


def write_table() -> None:
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + table() + END + after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add")
    adding.add_argument("run", type=Path)
    adding.add_argument("--recipe", required=True)
    adding.add_argument("--data", type=Path, required=True)
    adding.add_argument("--note", default="")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "add":
        add(arguments.run, arguments.recipe, arguments.data, arguments.note)
    write_table()


if __name__ == "__main__":
    main()
