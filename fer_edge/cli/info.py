"""fer-edge info"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_edge.cli.arguments import Json, ModelArgument, model_or_carried
from fer_edge.cli.console import print_json
from fer_edge.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from fer_edge.artifact import Artifact, Manifest


def info(
    model: ModelArgument = None,
    card: Annotated[
        bool, typer.Option("--card", help="Print the model card, in Markdown.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what an artifact is, how it was made and what it scored.

    Every file is checked against its hash. The card is for whoever wants to use the model:
    training, scores per class with standard errors, intended use, limits, law.

    Examples:
    fer-edge info build/r50
    fer-edge info build/r50 --card
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fer_edge.artifact import Artifact
    from fer_edge.evaluation import verdict
    from fer_edge.evaluation.card import model_card

    if card and json:
        raise UsageError("--card is Markdown, --json is JSON.", hint="Choose one.")
    artifact = Artifact.load(model_or_carried(model))
    artifact.verify()
    manifest = artifact.manifest
    if card:
        typer.echo(model_card(artifact), nl=False)
        return
    if json:
        print_json({"artifact": str(artifact.folder), **manifest.model_dump(mode="json")})
        return
    console = Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(artifact):
        # A manifest may come from anyone: what it says is text, not markup.
        facts.add_row(Text(name, "bold"), Text(value))
    console.print(facts)
    if manifest.scores:
        console.print()
        console.print(_scores(manifest))
        base = manifest.scores.get("fp32")
        for precision, score in manifest.scores.items():
            if base is not None and precision != "fp32":
                console.print(Text(f"{precision} {verdict(base, score)}."))
    console.print()
    files = Table(title="Files, all hashes right", title_justify="left")
    files.add_column("file")
    files.add_column("MB", justify="right")
    for name, record in manifest.files.items():
        files.add_row(Text(name), f"{record.bytes / 1e6:.2f}")
    console.print(files)


def _facts(artifact: "Artifact") -> list[tuple[str, str]]:
    from fer_edge.engines.cuda import described
    from fer_edge.engines.speed import summary
    from fer_edge.engines.tensorrt.rtx_validity import RTX_PORTABLE, listed

    manifest, contract = artifact.manifest, artifact.contract
    facts = [
        ("model", manifest.model),
        ("folder", str(artifact.folder)),
        (
            "made",
            f"{manifest.created} with "
            + ", ".join(f"{k} {v}" for k, v in manifest.versions.items()),
        ),
        ("labels", ", ".join(manifest.labels)),
        ("input", f"{contract.input_text}; normalisation is inside"),
        ("output", contract.output_text),
    ]
    if manifest.parameters is not None and manifest.multiply_adds is not None:
        facts.append(
            (
                "size",
                f"{manifest.parameters / 1e6:.2f} M parameters, "
                f"{manifest.multiply_adds / 1e6:.1f} M multiply-adds per face",
            )
        )
    if manifest.training is not None:
        facts.append(("training", _training(artifact)))
    if manifest.calibration:
        used = manifest.calibration
        facts.append(("calibration", f"{used.method} on {used.samples} faces, {used.file}"))
    for precision, graph in manifest.graphs.items():
        if graph.cpu_agreement is not None:
            facts.append(
                (
                    "CPU form",
                    f"{graph.cpu_file} gives {100 * graph.cpu_agreement:.2f} % of the scored "
                    f"faces the label of {graph.file} ({precision})",
                )
            )
    for speed in manifest.speeds:
        times = summary(speed, list(speed.ms))
        facts.append(("speed", f"{times}, with {speed.backend} on {speed.machine}"))
    for engine in manifest.engines:
        gpu = (
            described(engine.gpu, engine.capability, engine.multiprocessors)
            if engine.gpu
            else f"any GPU of compute capability {listed(RTX_PORTABLE)}"
        )
        facts.append(
            (
                "engine",
                f"{engine.backend} {engine.backend_version} {engine.precision} for {gpu}, "
                f"batch {engine.min_batch} to {engine.max_batch}",
            )
        )
    return facts


def _training(artifact: "Artifact") -> str:
    training: dict[str, Any] = artifact.manifest.training or {}
    try:
        config, best = training["config"], training["best_epoch"]
        how = "is kept, the last" if config.get("keep") == "last" else "was best on val"
        told = (
            f"{training['epochs_run']} epochs on {config['data']}, seed {config['seed']}; "
            f"epoch {best['epoch']} {how} ({100 * best['val_accuracy']:.2f} %)"
        )
        # Older artifacts have none.
        if "temperature" in training:
            told += f"; temperature {training['temperature']:.3f}"
        return told
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{artifact.folder} is damaged: its manifest has no true record of the training "
            f"({error}).",
            hint="Export the model again.",
        ) from error


def _scores(manifest: "Manifest") -> "Table":
    from rich.table import Table

    table = Table(title="Recorded scores in %, single crop", title_justify="left")
    for column in ("precision", "faces", "accuracy", "macro-F1", "ECE", "as fp32", "McNemar p"):
        table.add_column(column, justify="left" if column == "precision" else "right")
    for precision, score in manifest.scores.items():
        agreement, p = score.agreement_with_fp32, score.mcnemar_p
        table.add_row(
            precision,
            f"{score.split} {score.n}",
            f"{100 * score.accuracy:.2f} ± {100 * score.standard_error:.2f}",
            f"{100 * score.macro_f1:.2f}",
            "-" if score.ece is None else f"{100 * score.ece:.2f}",
            "-" if agreement is None else f"{100 * agreement:.2f}",
            "-" if p is None else f"{p:.3f}",
        )
    return table
