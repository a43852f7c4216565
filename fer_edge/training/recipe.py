"""Recipes: TOML files that say how a model is made, one per published model."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fer_edge.errors import UsageError
from fer_edge.files import storage_errors
from fer_edge.training.config import problem_with
from fer_edge.training.declaration import Declared, declared_in
from fer_edge.training.options import SvmOptions, TrainOptions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FACTS = ("title", "description", "source")

TABLES: dict[str, dict[str, Declared]] = {}
"""The options of each table by their keys."""
for _option in (*declared_in(TrainOptions), *declared_in(SvmOptions)):
    TABLES.setdefault(_option.table, {})[_option.key] = _option


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
        Not TOML, a table or key that no recipe has, or a value that an option cannot have.
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
            raise _unknown(path, table, None, [*_FACTS, *TABLES])
        if table not in TABLES:
            raise _unknown(path, f"[{table}]", None, [f"[{name}]" for name in TABLES])
        for key, value in entries.items():
            if key not in TABLES[table]:
                raise _unknown(path, key, table, list(TABLES[table]))
            option = TABLES[table][key]
            if problem := problem_with(option, value):
                raise UsageError(f"{path}: {key} {value} in [{table}]: {problem}.")
            values[option.name] = _absolute(option, value)
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


def _absolute(option: Declared, value: Any) -> Any:
    """Paths from the root; data sets stay names, which :func:`find_sources` looks for."""
    if not option.path or option.name == "data":
        return value
    return [option.rooted(one) for one in value] if option.many else option.rooted(value)


def _unknown(path: Path, key: str, table: str | None, known: list[str]) -> UsageError:
    home = next((name for name, keys in TABLES.items() if key in keys), None)
    close = get_close_matches(key, known, 1)
    if home:
        hint = f"It belongs in [{home}]."
    elif close:
        hint = f"Did you mean {close[0]}?"
    else:
        hint = f"There are {', '.join(known)}."
    where = f" in [{table}]" if table else ""
    return UsageError(f"{path}: there is no {key}{where}.", hint=hint)
