import importlib.metadata
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra train")

from examples import own_network
from fer_edge.artifact import Artifact
from fer_edge.errors import ModelError, UsageError
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
def test_it_is_listed_where_a_name_is_wrong() -> None:
    with pytest.raises(UsageError, match="Did you mean tiny-mobile"):
        build_model("tiny-mobil")


def test_an_entry_point_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("lost", "examples.own_network:lost", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])  # noqa: ARG005
    with pytest.raises(ModelError, match=r"own_network has no lost.* entry point"):
        build_model("lost")
