from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.testing import CliRunner

from fer_edge.cli.groups import declared_options, grouped
from fer_edge.training.declaration import Option


@dataclass(frozen=True)
class Light:
    level: Annotated[int, typer.Option(help="How bright.")] = 3
    lamp: Annotated[str | None, typer.Option("--lamp", "-l")] = None


@dataclass(frozen=True)
class Dark(Light):
    night: Annotated[bool, typer.Option("--night")] = False


@dataclass(frozen=True, kw_only=True)
class Declared:
    rate: Annotated[float, Option("How fast.", "optimiser")] = 0.5
    folders: Annotated[tuple[str, ...], Option("Where.", "data", flag="folder", path=True)]
    mirror: Annotated[bool, Option("Both ways.", "data")] = True
    found: str | None = None
    """No option."""


def app_of(seen: list[Any]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @grouped
    def look(
        *,
        image: Annotated[Path, typer.Argument()],
        dark: Dark,
        options: Annotated[dict[str, Any], declared_options(Declared)],
        twice: bool = False,
    ) -> None:
        seen.extend((image, dark, options, twice))

    return app


def test_a_command_is_given_its_groups() -> None:
    seen: list[Any] = []
    words = ["a.png", "-l", "red", "--night", "--rate", "2", "--no-mirror", "--twice"]
    words += ["--folder", "x", "--folder", "/y"]
    assert CliRunner().invoke(app_of(seen), words).exit_code == 0
    options = {"rate": 2.0, "folders": [str(Path("x").resolve()), "/y"], "mirror": False}
    assert seen == [Path("a.png"), Dark(3, "red", True), options, True]


def test_what_is_not_given_has_the_declared_default() -> None:
    seen: list[Any] = []
    assert CliRunner().invoke(app_of(seen), ["a.png"]).exit_code == 0
    assert seen == [Path("a.png"), Dark(), {"rate": 0.5, "folders": [], "mirror": True}, False]


def test_help_has_every_option_in_its_group() -> None:
    told = CliRunner().invoke(app_of([]), ["--help"], env={"COLUMNS": "200"}).output
    for words in ("--level", "How bright.", "--no-mirror", "Optimiser", "How fast.", "--folder"):
        assert words in told
    assert "found" not in told
