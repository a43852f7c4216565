import importlib.metadata
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra train")

from examples import own_network
from fer_edge import Recognizer
from fer_edge.artifact import Artifact
from fer_edge.cli import main
from fer_edge.contract import Contract
from fer_edge.data import synthetic_dataset
from fer_edge.errors import ModelError, UsageError
from fer_edge.export.importing.sources import open_source
from fer_edge.export.pipeline import export_model
from fer_edge.models import build_model, registry


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the example were installed with the entry point that it shows."""
    point = importlib.metadata.EntryPoint(
        "tiny-mobile", "examples.own_network:tiny_mobile", registry.GROUP
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: [point][: group == registry.GROUP])


def test_it_exports_a_colour_network_with_eight_labels(tmp_path: Path, capsys) -> None:
    own_network.main(str(tmp_path / "mine"))
    artifact = Artifact.load(tmp_path / "mine")
    assert artifact.contract.face_shape == (3, 96, 96)
    assert artifact.contract.labels[-1] == "contempt"
    assert set(artifact.manifest.graphs) == {"fp32", "fp16"}
    assert capsys.readouterr().out.split(": ")[1].strip() in artifact.contract.labels


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("options", "contract"),
    [((), Contract(64)), (("--size", "96", "--color", "rgb"), Contract(96, "rgb"))],
)
def test_it_is_trained_at_its_own_size_or_another(
    options: tuple[str, ...], contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))
    lines = ["emotion,pixels,Usage"]
    for usage, n, split in (("Training", 42, "train"), ("PublicTest", 14, "val")):
        data = synthetic_dataset(n, split=split)
        for face, label in zip(data.faces, data.labels, strict=True):
            lines.append(f"{label},{' '.join(map(str, face.ravel()))},{usage}")
    file = tmp_path / "fer2013.csv"
    file.write_text("\n".join(lines))
    small = ("--epochs", "1", "--batch", "14", "--data", str(file), "--out", str(tmp_path / "run"))
    with pytest.raises(SystemExit) as done:
        main(["train", "--model", "tiny-mobile", *options, *small])
    assert not done.value.code
    source = open_source(tmp_path / "run")
    assert source.contract == contract
    export_model(source, tmp_path / "artifact")
    with Recognizer(tmp_path / "artifact") as recognizer:
        assert recognizer.contract == contract
        assert recognizer([data.faces[0]]).probabilities.shape == (1, 7)


@pytest.mark.usefixtures("registered")
def test_it_is_listed_where_a_name_is_wrong() -> None:
    with pytest.raises(UsageError, match="Did you mean tiny-mobile"):
        build_model("tiny-mobil")


def test_an_entry_point_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("lost", "examples.own_network:lost", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])  # noqa: ARG005
    with pytest.raises(ModelError, match=r"own_network has no lost.* entry point"):
        build_model("lost")
