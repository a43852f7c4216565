"""fer-edge models"""

from typing import TYPE_CHECKING, Any, cast

from fer_edge.cli.arguments import Json
from fer_edge.cli.console import print_json

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact
    from fer_edge.contract import Precision
    from fer_edge.engines import EngineInfo
    from fer_edge.models.published import Published

_TIMED_S = 0.1
"""At each batch size."""


def models(json: Json = False) -> None:
    """List the trained models that are installed: accuracy, size, speed here, licence.

    Every command takes these names where it takes an artifact, and so does Recognizer. A model is
    opened to see what this machine takes of it; that times it, where nothing is known
    of its speed.

    Examples:
    fer-edge models
    fer-edge info nano --card
    fer-edge predict face.jpg --model nano
    """
    from fer_edge.models.published import published_models

    rows = [_row(model) for model in published_models().values()]
    if json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    figures = Table(title="Trained models that are installed", title_justify="left")
    figures.add_column("name", no_wrap=True)
    figures.add_column("here")
    for column in ("val %", "ECE %", "MB", "M mult-adds", "ms a face"):
        figures.add_column(column, justify="right")
    origin = Table.grid(padding=(0, 2))
    for row in rows:
        figures.add_row(
            Text(row["name"]),
            row["precision"],
            _figure(row["accuracy"], 100, ".2f"),
            _figure(row["ece"], 100, ".2f"),
            _figure(row["bytes"], 1e-6, ".2f"),
            _figure(row["multiply_adds"], 1e-6, ".1f"),
            _figure(row["ms_per_face"], 1, ".3g"),
        )
        package = f"{row['package']} {row['version']}"
        origin.add_row(
            Text(row["name"]), Text(package), Text(row["license"]), f"sha256 {row['sha256'][:16]}"
        )
    console = Console(highlight=False)
    console.print(figures, origin, "Scores, training, limits: fer-edge info NAME --card", sep="\n")


def _row(model: "Published") -> dict[str, Any]:
    from fer_edge.artifact import Artifact
    from fer_edge.engines import open_engine
    from fer_edge.files import sha256
    from fer_edge.sealed import MANIFEST

    artifact = Artifact.load(model.folder)
    with open_engine(artifact) as engine:
        info = engine.describe()
    manifest = artifact.manifest
    precision = cast("Precision", info.precision)
    score = manifest.scores.get(precision)
    return {
        "name": model.name,
        "labels": list(manifest.labels),
        "input": artifact.contract.input_text,
        "precision": precision,
        "backend": info.backend,
        "split": None if score is None else score.split,
        "accuracy": None if score is None else score.accuracy,
        "ece": None if score is None else score.ece,
        "bytes": manifest.files[artifact.graph(precision).file].bytes,
        "parameters": manifest.parameters,
        "multiply_adds": manifest.multiply_adds,
        "ms_per_face": _speed(artifact, info, precision),
        "license": model.license,
        "package": model.package,
        "version": model.version,
        "folder": str(model.folder),
        # It names the hash of every other file.
        "sha256": sha256(model.folder / MANIFEST),
    }


def _speed(artifact: "Artifact", info: "EngineInfo", precision: "Precision") -> float | None:
    from fer_edge.engines.preference import may_time
    from fer_edge.engines.speed import cost, recorded_speed, remember_speed
    from fer_edge.engines.tuning import tune

    known = recorded_speed(
        artifact,
        [precision],
        backend=info.backend,
        backend_version=info.backend_version,
        threads=None,
        device=info.device,
    )
    if known is None and may_time():
        # An artifact of one graph has nothing to choose, and is not timed when it opens.
        known = tune(artifact, backend=info.backend, seconds=_TIMED_S).record
        remember_speed(artifact, known)
    return None if known is None else cost(known.ms[precision])


def _figure(value: float | None, factor: float, form: str) -> str:
    return "-" if value is None else f"{value * factor:{form}}"
