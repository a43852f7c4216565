"""What each ingredient of a recipe gives: the recipe with one thing changed at a time.

python bench/ablation.py export/compact.toml --data fer2013.zip --epochs 2 --exclude report.json

Same seed, same epochs, from random weights. Goes on where it was stopped.
"""

import argparse
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from recording import RESULTS, record, table
from rich.progress import track

from fer_edge.data import load_dataset
from fer_edge.metrics import standard_error
from fer_edge.training.config import TrainConfig
from fer_edge.training.epoch import METRICS, metrics_of
from fer_edge.training.recipe import read_recipe
from fer_edge.training.run import resume, start

CHANGES: dict[str, dict[str, Any]] = {
    "no teacher": {"teachers": []},
    "no augmentation": {"augment": False, "mixup": 0},
    "no mixup": {"mixup": 0},
    "no random erasing": {"erasing": 0},
    "no label smoothing": {"label_smoothing": 0},
    "no class balance": {"class_balance": 0},
    "no weight averaging": {"ema": 0},
    "faces grow from 32x32": {"initial_size": 32},
    "cosine schedule": {"schedule": "cosine"},
    "CutMix for mixup": {"mixup": 0, "cutmix": 1},
    "stochastic depth 0.1": {"drop_path": 0.1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--first", type=int, help="so many rows of the table only")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--ema", type=float, default=0.98, help="as of fer-edge train")
    parser.add_argument("--precision", default="auto", help="as of fer-edge train")
    parser.add_argument(
        "--teacher", default="fer_edge/models/carried/compact", help="run's weights or artifact"
    )
    parser.add_argument("--exclude", help="report of fer-edge data: train without its faces, too")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    arguments = parser.parse_args()
    base = read_recipe(arguments.recipe).values | {
        "data": [str(arguments.data)],
        "weights": None,
        "grow_from": None,
        "teachers": [arguments.teacher],
        "epochs": arguments.epochs,
        "ema": arguments.ema,
        "precision": arguments.precision,
    }
    changes = {"the recipe": {}}
    if arguments.exclude:
        changes["no flagged faces"] = {"exclude": arguments.exclude}
    changes |= CHANGES
    n = len(load_dataset(arguments.data, "val"))
    rows = {}
    for name, change in track(list(changes.items())[: arguments.first], "Trainings"):
        run = arguments.runs / name.replace(" ", "-")
        progress = train(TrainConfig.checked(**base | change), run)
        best = metrics_of(run, progress.best_epoch)
        rows[name] = {
            "changed": change,
            "accuracy": best["val_accuracy"],
            "standard_error": standard_error(best["val_accuracy"], n),
            "macro_f1": best["val_macro_f1"],
            "disgust_recall": best["val_recall"]["disgust"],
            "val_loss": best["val_loss"],
            "faces_per_second": best["faces_per_second"],
        }
    name = f"ablation-{arguments.recipe.stem}"
    record(RESULTS / f"{name}.json", {"epochs": arguments.epochs, "n": n, "rows": rows})
    plot(rows, RESULTS / f"{name}.png")
    whole = rows["the recipe"]["accuracy"]
    columns = ["", "val %", "beside the recipe", "macro-F1 %", "disgust recall %", "val loss"]
    lines = [
        [
            name,
            f"{100 * row['accuracy']:.2f} ± {100 * row['standard_error']:.2f}",
            f"{100 * (row['accuracy'] - whole):+.2f}",
            f"{100 * row['macro_f1']:.1f}",
            f"{100 * row['disgust_recall']:.1f}",
            f"{row['val_loss']:.3f}",
        ]
        for name, row in rows.items()
    ]
    print(table(columns, lines))


def train(config: TrainConfig, run: Path) -> None:
    lines = (run / METRICS).read_text().splitlines() if (run / METRICS).is_file() else []
    if len(lines) == config.epochs:
        return
    if lines:
        resume(run)
    else:
        (run / "config.json").unlink(missing_ok=True)
        start(config, run)


def plot(rows: dict[str, dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    names = list(rows)[::-1]
    axes.errorbar(
        [100 * rows[name]["accuracy"] for name in names],
        names,
        xerr=[100 * rows[name]["standard_error"] for name in names],
        fmt="o",
        capsize=3,
    )
    axes.axvline(100 * rows["the recipe"]["accuracy"], color="gray", linestyle=":")
    axes.set_xlabel("accuracy on val, %")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
