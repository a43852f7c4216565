"""The commands, registered. Each module imports what it runs inside its command: help is fast."""

from collections.abc import Sequence
from typing import cast

import typer

from fer_edge.cli.analyze import analyze
from fer_edge.cli.bench import bench
from fer_edge.cli.calibrate import calibrate
from fer_edge.cli.camera import camera
from fer_edge.cli.console import fail, reported
from fer_edge.cli.data import data
from fer_edge.cli.detector import detector
from fer_edge.cli.doctor import doctor
from fer_edge.cli.evaluate import evaluate
from fer_edge.cli.export import export
from fer_edge.cli.import_ import import_
from fer_edge.cli.info import info
from fer_edge.cli.inspect import inspect
from fer_edge.cli.models import models
from fer_edge.cli.predict import predict
from fer_edge.cli.serve import serve
from fer_edge.cli.streams import open_streams
from fer_edge.cli.train import train
from fer_edge.cli.tune import tune
from fer_edge.version import __version__

app = typer.Typer(
    name="fer-edge",
    help="Facial-expression recognition from training to a camera at the edge.",
    epilog="Without a model, every command means the model that the package carries.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    train,
    import_,
    calibrate,
    export,
    detector,
    tune,
    bench,
    evaluate,
    data,
    predict,
    camera,
    analyze,
    serve,
    models,
    info,
    inspect,
    doctor,
):
    app.command(command.__name__.rstrip("_"))(reported()(command))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fer-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    del version


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``fer-edge`` with these arguments, by default those of the process, and exit."""
    open_streams()
    with reported():
        try:
            code = app(arguments, prog_name="fer-edge", standalone_mode=False)
        except Exception as error:
            # Typer's usage errors: their class is click's or, since Typer carries a copy, its own.
            if not hasattr(error, "format_message"):
                raise
            _fail_usage(cast(typer.BadParameter, error))
    raise SystemExit(code)


def _fail_usage(error: typer.BadParameter) -> None:
    path = error.ctx.command_path if error.ctx else "fer-edge"
    message = error.format_message().rstrip(".")
    if not message:
        # `fer-edge` alone: the help has been printed.
        raise SystemExit(error.exit_code)
    fail(f"{message}. See: {path} --help", error.exit_code)
