"""Recipes: TOML files that say how a model is made, one per published model."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from fer_edge.errors import UsageError
from fer_edge.files import storage_errors
from fer_edge.models.published import find_model

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FACTS = ("title", "description", "source")

_TABLES: dict[str, dict[str, str]] = {
    "data": {
        "sources": "data",
        "weights": "data_weights",
        "labels": "labels",
        "exclude": "exclude",
        "exclude_weight": "exclude_weight",
        "fer_plus": "fer_plus",
    },
    "model": {
        "name": "model",
        "size": "size",
        "color": "color",
        "weights": "weights",
        "grow_from": "grow_from",
        "int8_weights": "int8_weights",
        "pretrained": "pretrained",
        "dropout": "dropout",
        "drop_path": "drop_path",
    },
    "optimiser": {
        "lr": "lr",
        "momentum": "momentum",
        "weight_decay": "weight_decay",
        "batch": "batch",
        "epochs": "epochs",
        "schedule": "schedule",
        "ema": "ema",
    },
    "loss": {
        "label_smoothing": "label_smoothing",
        "class_balance": "class_balance",
        "logit_adjustment": "logit_adjustment",
        "teachers": "teachers",
        "distillation": "distillation",
        "distillation_temperature": "distillation_temperature",
        "soft_labels": "soft_labels",
    },
    "augmentation": {
        "enabled": "augment",
        "flip": "flip",
        "rotation": "rotation",
        "shift": "shift",
        "scale": "scale",
        "brightness": "brightness",
        "erasing": "erasing",
        "degradation": "degradation",
        "mixup": "mixup",
        "cutmix": "cutmix",
        "initial_size": "initial_size",
    },
    "run": {
        "seed": "seed",
        "compile": "compile",
        "precision": "precision",
        "device": "device",
    },
    "svm": {
        "run": "source_run",
        "costs": "costs",
        "class_balance": "class_balance",
    },
}
"""Keys of each table, and the field of TrainConfig or the parameter of train_svm they set."""

_PATHS = ("exclude", "fer_plus", "weights", "grow_from", "source_run")


@dataclass(frozen=True)
class Recipe:
    """What a recipe file holds."""

    title: str
    description: str
    source: str
    """Where the values are from."""
    values: dict[str, object]
    """Fields of TrainConfig; with :attr:`svm`, ``data`` and parameters of ``train_svm``."""
    svm: bool
    """The recipe fits an SVM on the features of a trained network."""


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Paths in it count from the current folder, data sets by their names.

    Raises
    ------
    UsageError
        Not TOML, or a table or key that no recipe has.
    StorageError
        The file cannot be read.
    """
    with storage_errors(path):
        text = path.read_bytes()
    try:
        content = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a recipe: {error}.", hint="Write it as TOML.") from error
    facts = {name: content.pop(name, "") for name in _FACTS}
    values: dict[str, object] = {}
    for table, entries in content.items():
        if not isinstance(entries, dict):
            raise _unknown(path, table, None, [*_FACTS, *_TABLES])
        if table not in _TABLES:
            raise _unknown(path, f"[{table}]", None, [f"[{name}]" for name in _TABLES])
        for key, value in entries.items():
            if key not in _TABLES[table]:
                raise _unknown(path, key, table, list(_TABLES[table]))
            values[_TABLES[table][key]] = value
    svm = "svm" in content
    if svm and (others := [table for table in content if table not in ("svm", "data")]):
        raise UsageError(
            f"{path} has [{others[0]}] beside [svm].",
            hint="An SVM takes all but its data from the run that its features are of.",
        )
    if svm and "source_run" not in values:
        raise UsageError(
            f"{path}: [svm] names no run.",
            hint='Write run = "runs/RUN", a run of fer-edge train.',
        )
    for name in _PATHS:
        if isinstance(value := values.get(name), str):
            values[name] = str(Path(value).resolve())
    if isinstance(teachers := values.get("teachers"), list):
        values["teachers"] = [str(find_model(str(teacher)).resolve()) for teacher in teachers]
    return Recipe(**{name: str(fact) for name, fact in facts.items()}, values=values, svm=svm)


def find_sources(names: object, given: Sequence[Path]) -> list[str]:
    """Find the data sets that a recipe names among the paths of the command line.

    A path stands for the data set of its own name, a folder for all that lie in it; the paths left
    over stand for the names left over, in order.

    Parameters
    ----------
    names : list of str
        ``data`` of the recipe.
    given : sequence of Path

    Returns
    -------
    list of str
        One path per name.

    Raises
    ------
    UsageError
        A data set is missing, or a path is of no use.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(
            "sources of a recipe must be a list of file names.",
            hint='Write sources = ["fer2013.zip"].',
        )
    found: dict[str, Path] = {}
    used: set[Path] = set()
    for name in names:
        for path in given:
            exact = path.name == name
            if exact or (path / name).exists():
                found[name] = path if exact else path / name
                used.add(path)
                break
    missing = [name for name in names if name not in found]
    rest = [path for path in given if path not in used]
    if len(missing) > len(rest):
        raise UsageError(
            f"The recipe wants {', '.join(missing[len(rest) :])}, too."
            if given
            else f"The recipe wants {', '.join(names)}.",
            hint="Pass " + " ".join(f"--data {name}" for name in names),
        )
    if len(rest) > len(missing):
        raise UsageError(
            f"The recipe has no use for {rest[len(missing)]}: it names {', '.join(names)}.",
            hint="Drop it, or add it to sources in the recipe.",
        )
    found |= dict(zip(missing, rest, strict=True))
    return [str(found[name]) for name in names]


def _unknown(path: Path, key: str, table: str | None, known: list[str]) -> UsageError:
    home = next((name for name, keys in _TABLES.items() if key in keys), None)
    close = get_close_matches(key, known, 1)
    if home:
        hint = f"It belongs in [{home}]."
    elif close:
        hint = f"Did you mean {close[0]}?"
    else:
        hint = f"There are {', '.join(known)}."
    where = f" in [{table}]" if table else ""
    return UsageError(f"{path}: there is no {key}{where}.", hint=hint)
