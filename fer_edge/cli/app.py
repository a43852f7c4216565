"""The commands, registered. Each module imports what it runs inside its command: help is fast."""

import typer

from fer_edge.cli.bench import bench
from fer_edge.cli.console import reported
from fer_edge.cli.doctor import doctor
from fer_edge.cli.export import export
from fer_edge.cli.info import info
from fer_edge.cli.predict import predict
from fer_edge.cli.train import train
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
for command in (train, export, bench, predict, info, doctor):
    app.command()(reported(command))


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


def main() -> None:
    app()
