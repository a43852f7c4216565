"""One declaration makes the command line, recipes, checks and the reference page."""

from pathlib import Path

import pytest
from typer.main import get_command

from fer_edge.cli.app import app
from fer_edge.errors import UsageError
from fer_edge.training.config import TrainConfig, problem_with
from fer_edge.training.declaration import declared_in
from fer_edge.training.options import SvmOptions, TrainOptions
from fer_edge.training.recipe import read_recipe

OPTIONS = declared_in(TrainOptions)
BY_NAME = {option.name: option for option in OPTIONS}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_command_line_has_it(option) -> None:
    train = get_command(app).commands["train"]
    (found,) = (one for one in train.params if one.name == option.name)
    assert option.flag in found.opts
    assert option.option.help in (found.help or "")
    assert option.values in (found.help or "")
    assert found.default in (option.default, None)


def test_none_is_left_out() -> None:
    """A field of the config that a person may set is an option."""
    assert set(TrainConfig.__dataclass_fields__) - set(BY_NAME) == {"pretrained_from"}
    keys = [(option.table, option.key) for option in (*OPTIONS, *declared_in(SvmOptions))]
    assert len(keys) == len(set(keys))


NEEDED: dict[str, dict[str, object]] = {
    "hold_out": {"data": ("d", "e")},
    "new_head": {"weights": "runs/other"},
}
"""Options that say something of another."""


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_recipe_has_it(option, tmp_path: Path) -> None:
    example = {bool: "true", int: "30", float: "0.25", str: '"runs/cosine"'}[option.kind]
    if option.values and option.kind is str:
        example = f'"{option.values.split(",")[0].split(" ")[0]}"'
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f"[{option.table}]\n{option.key} = {f'[{example}]' if option.many else example}\n"
    )
    values = read_recipe(recipe).values
    assert list(values) == [option.name]
    needed = {"data": ("d",)} | NEEDED.get(option.name, {}) | values
    assert getattr(TrainConfig.checked(**needed), option.name) is not None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[optimiser]\nmomentum = 2", r"momentum 2 in \[optimiser\]: input should be less than 1"),
        ("[optimiser]\nlr = nan", r"lr nan in \[optimiser\]: input should be a finite number"),
        ("[model]\nweights = 3", r"weights 3 in \[model\]: input should be a valid string"),
        ("[loss]\nteachers = 'a'", r"teachers a in \[loss\]: input should be a valid tuple"),
        ("[svm]\nrun = 'a'\ncosts = [0]", r"costs \[0\] in \[svm\]: input should be greater"),
        ("[svm]\nrun = 'a'\ncosts = []", r"costs \[\] in \[svm\]: .* at least 1 item"),
    ],
)
def test_a_value_that_it_cannot_have_is_named_with_its_recipe(
    text: str, wrong: str, tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UsageError, match=rf"r\.toml: {wrong}"):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("momentum", "0 to below 1"),
        ("lr", "above 0"),
        ("data_weights", "above 0"),
        ("epochs", "1 or more"),
        ("size", "24 to 260"),
        ("seed", "0 to below 4294967296"),
        ("schedule", "one-cycle or cosine"),
        ("precision", "auto, fp32, bf16 or fp16"),
        ("model", ""),
    ],
)
def test_the_values_are_told_in_words(name: str, says: str) -> None:
    assert BY_NAME[name].values == says


def test_the_words_are_what_the_checks_hold() -> None:
    assert problem_with(BY_NAME["momentum"], 0) is None
    assert problem_with(BY_NAME["momentum"], 1) == "input should be less than 1"
    assert problem_with(BY_NAME["size"], None) is None


def test_a_wrong_value_is_named_by_its_option() -> None:
    with pytest.raises(UsageError, match=r"^--data-weight .*input should be greater than 0"):
        TrainConfig.checked(data="d", data_weights=[-1.0])
