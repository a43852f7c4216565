from pathlib import Path

import pytest

from fer_edge.errors import ModelError, StorageError, UsageError
from fer_edge.models import model_spec
from fer_edge.models.carried import carried_model
from fer_edge.training.config import TrainConfig
from fer_edge.training.recipe import find_sources, read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "export").glob("*.toml"))


@pytest.fixture
def recipe(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "r.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_published_recipe_is_valid(path: Path) -> None:
    recipe = read_recipe(path)
    assert path.read_text().startswith("# ")
    assert recipe.title
    assert recipe.description
    assert recipe.source
    if recipe.svm:
        assert {"data", "source_run", "costs"} <= recipe.values.keys()
    else:
        config = TrainConfig.checked(**recipe.values)
        assert model_spec(config.model).name == config.model
        assert config.data[0] == "fer2013.zip"


def test_paths_count_from_the_current_folder(recipe, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    values = read_recipe(
        recipe('[model]\nweights = "runs/a.safetensors"\n[loss]\nteachers = ["b.safetensors"]\n')
    ).values
    assert values["weights"] == str(tmp_path / "runs/a.safetensors")
    assert values["teachers"] == [str(tmp_path / "b.safetensors")]


@pytest.mark.parametrize(
    ("text", "wrong", "hint"),
    [
        ("[optimiser]\nmomentun = 0.9", r"no momentun in \[optimiser\]", "Did you mean momentum?"),
        ("[optimiser]\nmixup = 0.2", r"no mixup in \[optimiser\]", "It belongs in [augmentation]."),
        ("[optimizer]\nlr = 1", r"no \[optimizer\]", "Did you mean [optimiser]?"),
        ("titel = 'x'", "no titel", "Did you mean title?"),
        ("[loss]\nzzz = 1", r"no zzz in \[loss\]", "There are label_smoothing, "),
        ("lr = 0.1", "no lr", "It belongs in [optimiser]."),
        ("[svm]\nrun = 'a'\n[loss]\nlabel_smoothing = 0", r"\[loss\] beside \[svm\]", "An SVM"),
        ("[svm]\ncosts = [0.1]", r"\[svm\] names no run", "run = "),
        ("[model", "is not a recipe", "TOML"),
    ],
)
def test_what_no_recipe_has_is_named(recipe, text: str, wrong: str, hint: str) -> None:
    path = recipe(text)
    with pytest.raises(UsageError, match=wrong) as caught:
        read_recipe(path)
    assert str(path) in caught.value.message
    assert hint in caught.value.hint


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere\.toml"):
        read_recipe(tmp_path / "nowhere.toml")


def test_data_sets_are_found_by_name_in_folders_and_in_order(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        (tmp_path / name).touch()
    names = ["a.zip", "b.zip"]
    both = [str(tmp_path / "a.zip"), str(tmp_path / "b.zip")]
    assert find_sources(names, [tmp_path / "b.zip", tmp_path / "a.zip"]) == both
    assert find_sources(names, [tmp_path]) == both
    assert find_sources(names, [Path("other.csv"), tmp_path / "a.zip"]) == [both[0], "other.csv"]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ([], r"wants a\.zip, b\.zip"),
        ([Path("a.zip")], r"wants b\.zip, too"),
        ([Path("a.zip"), Path("b.zip"), Path("c.zip")], r"no use for c\.zip"),
    ],
)
def test_data_sets_too_few_or_too_many_are_named(given: list[Path], wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        find_sources(["a.zip", "b.zip"], given)
    with pytest.raises(UsageError, match="must be a list"):
        find_sources("a.zip", given)


def test_a_teacher_may_be_a_published_model(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[loss]\nteachers = ["compact", "runs/x/best.safetensors"]')
    first, second = read_recipe(tmp_path / "r.toml").values["teachers"]
    assert Path(first) == carried_model("compact").resolve()
    assert Path(second) == Path("runs/x/best.safetensors").resolve()
    (tmp_path / "r.toml").write_text('[loss]\nteachers = ["compcat"]')
    with pytest.raises(ModelError, match="no model 'compcat'"):
        read_recipe(tmp_path / "r.toml")
