import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.artifact import Artifact
from fer_edge.errors import ModelError
from fer_edge.models.published import find_model, published_models
from fer_edge.version import __version__
from tests.tiny import tiny_artifact

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a package that publishes an artifact, as pip would leave it."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def put(name: str = "large", *, license_: str | None = "MIT", artifact: bool = True) -> Path:
        folder = site / f"{name}_model"
        if artifact:
            tiny_artifact(folder, "fp32")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text("raise RuntimeError('is not to be run')")
        info = site / f"{name}_model-1.5.dist-info"
        info.mkdir()
        lines = [f"Name: {name}-model", "Version: 1.5"]
        if license_ is not None:
            lines.append(f"License-Expression: {license_}")
        (info / "METADATA").write_text("Metadata-Version: 2.4\n" + "\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(f"[fer_edge.artifacts]\n{name} = {name}_model\n")
        return folder

    return put


def test_the_carried_models_come_first(install: Install) -> None:
    install()
    found = published_models()
    assert next(iter(found)) == "compact"
    assert found["compact"].package == "fer-edge"


def test_a_package_publishes_a_model_and_is_not_run(install: Install) -> None:
    folder = install()
    large = published_models()["large"]
    assert large == ("large", folder, "large-model", "1.5", "MIT")
    assert find_model("large") == folder


def test_a_licence_that_is_not_stated_is_said_so(install: Install) -> None:
    install(license_=None)
    assert published_models()["large"].license == "not stated"


def test_a_package_without_its_artifact_is_left_out(install: Install) -> None:
    install(artifact=False)
    assert "large" not in published_models()


def test_a_package_cannot_take_the_place_of_a_carried_model(install: Install) -> None:
    install("compact")
    assert published_models()["compact"].package == "fer-edge"


def test_no_model_means_compact() -> None:
    assert find_model() == find_model("compact") == find_model(Path("compact"))


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compact").mkdir()
    assert find_model("compact") == Path("compact")
    # Without a model, nothing that happens to lie here is taken.
    assert find_model() != Path("compact")


@pytest.mark.parametrize("model", ["runs/r50", "./compact", "model.onnx", "/nowhere/compact"])
def test_a_path_stays_a_path(model: str) -> None:
    assert find_model(model) == Path(model)


def test_an_unknown_name_is_told_what_there_is(install: Install) -> None:
    install()
    with pytest.raises(ModelError, match=r"no model .lagre..*: compact.*large"):
        find_model("lagre")


@pytest.mark.parametrize("project", sorted((ROOT / "export").glob("*/pyproject.toml")))
def test_what_export_publishes_can_be_found_and_is_whole(project: Path) -> None:
    told = tomllib.loads(project.read_text())["project"]
    ((name, module),) = told["entry-points"]["fer_edge.artifacts"].items()
    assert name == project.parent.name
    assert told["version"] == __version__
    artifact = Artifact.load(project.parent / module)
    artifact.verify()
    assert {"fp32", "int8"} <= set(artifact.manifest.scores)
