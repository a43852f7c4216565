import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from fer_edge.contract import EMOTIONS, FER2013
from fer_edge.data import FaceDataset
from fer_edge.errors import MissingDependencyError, TrainingError, UsageError
from fer_edge.models.head import classifier
from fer_edge.models.trained import load_model
from fer_edge.models.weights import contract_facts
from fer_edge.training import svm as svms
from fer_edge.training.augment import normalise
from fer_edge.training.checkpoint import BEST
from fer_edge.training.config import CONFIG
from fer_edge.training.epoch import METRICS, metrics_of
from fer_edge.training.svm import features, train_svm
from fer_edge.training.trainer import Trainer

pytest.importorskip("sklearn", reason="needs scikit-learn")


@pytest.fixture
def source(trainer: Callable[..., Trainer], tmp_path: Path) -> Path:
    """A run of one epoch."""
    made = trainer(epochs=1, logit_adjustment=0.1)
    made.config.save(tmp_path)
    made.fit()
    return tmp_path


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch, train_set: FaceDataset, val_set: FaceDataset) -> None:
    sets = {"train": train_set, "val": val_set}
    monkeypatch.setattr(svms, "load_dataset", lambda _, split, **__: sets[split])


def test_the_svm_replaces_the_last_layer_and_nothing_else(
    source: Path, val_set: FaceDataset
) -> None:
    out = source / "svm"
    steps: list[tuple[int, int]] = []
    epoch = train_svm(
        source, "made up", out, costs=(1e-3, 1e-2), on_step=lambda *s: steps.append(s)
    )
    before, after = load_model(source / BEST), load_model(out / BEST)
    changed = {
        name
        for name, tensor in after.state_dict().items()
        if not torch.equal(tensor, before.state_dict()[name])
    }
    assert changed == {"7.weight", "7.bias"}

    faces = torch.from_numpy(np.array(val_set.faces))[:, None]
    with torch.no_grad():
        predicted = after.eval()(normalise(faces)).argmax(1).numpy()
    assert (predicted == val_set.labels).mean() == pytest.approx(epoch.val_accuracy)
    assert steps[-1] == (177, 177)
    assert steps == sorted(steps)


def test_decision_values_are_those_of_scikit_learn(source: Path, train_set: FaceDataset) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    train_svm(source, "made up", source / "svm", costs=[1e-2])
    model = load_model(source / BEST).eval()
    straight = features(model, train_set)
    both = torch.cat([straight, features(model, train_set, mirrored=True)]).numpy()
    labels = np.tile(train_set.labels, 2)
    expected = make_pipeline(StandardScaler(), LinearSVC(C=1e-2, dual=False)).fit(both, labels)
    layer = classifier(load_model(source / "svm" / BEST))
    with torch.no_grad():
        actual = layer(straight).numpy()
    np.testing.assert_allclose(actual, expected.decision_function(straight.numpy()), atol=1e-3)


def test_the_run_can_be_read_like_any_other(source: Path) -> None:
    out = source / "svm"
    epoch = train_svm(source, "made up", out, costs=[1e-3], class_balance=0.5)
    assert metrics_of(out, 1) == vars(epoch)
    assert len((out / METRICS).read_text().splitlines()) == 1
    with safe_open(out / BEST, framework="pt") as file:
        facts = {k: json.loads(v) for k, v in file.metadata().items()}
    contract = contract_facts(FER2013) | {"labels": list(EMOTIONS)}
    assert facts == {"model": "tiny", "epoch": 1, "val": epoch.val_accuracy} | contract
    config = json.loads((out / CONFIG).read_text())
    assert config["model"] == "tiny"
    assert config["data"] == ["made up"]
    assert "logit_adjustment" not in config
    assert config["svm"] == {
        "source_run": str(source),
        "cost": 1e-3,
        "costs": [1e-3],
        "class_balance": 0.5,
    }


def test_the_network_can_come_from_an_artifact(tmp_path: Path) -> None:
    carried = Path("fer_edge/models/carried/compact")
    # A recipe says 0 where it means 0.0.
    epoch = train_svm(carried, "made up", tmp_path / "svm", costs=[1e-3], class_balance=0)
    assert json.loads((tmp_path / "svm" / CONFIG).read_text())["model"] == "compact"
    layers = load_model(tmp_path / "svm" / BEST).state_dict()
    original = load_model(carried).state_dict()
    assert torch.equal(layers["stem.0.weight"], original["stem.0.weight"])
    assert not torch.equal(layers["classifier.weight"], original["classifier.weight"])
    assert epoch.train_accuracy > 0.5


def test_mirrored_features_are_those_of_mirrored_faces(source: Path, val_set: FaceDataset) -> None:
    model = load_model(source / BEST).eval()
    flipped = FaceDataset.from_arrays(
        np.ascontiguousarray(val_set.faces[:, :, ::-1]), val_set.labels, "val"
    )
    mirrored = features(model, val_set, mirrored=True)
    assert torch.equal(mirrored, features(model, flipped))
    assert not torch.equal(mirrored, features(model, val_set))


def test_what_cannot_be_fitted_is_refused(
    source: Path, train_set: FaceDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="holds a run already"):
        train_svm(source, "made up", source)
    with pytest.raises(TrainingError, match="is not a training run"):
        train_svm(tmp_path / "nowhere", "made up", source / "svm")
    for costs in ([], [0.0]):
        with pytest.raises(UsageError, match=r"costs .*(at least 1 item|greater than 0)"):
            train_svm(source, "made up", source / "svm", costs=costs)
    with pytest.raises(UsageError, match=r"class_balance 2 of an SVM: .*less than or equal to 1"):
        train_svm(source, "made up", source / "svm", class_balance=2)
    happy = train_set.subset(train_set.labels == 3)
    monkeypatch.setattr(svms, "load_dataset", lambda *_, **__: happy)
    with pytest.raises(UsageError, match="no training faces of angry"):
        train_svm(source, "made up", source / "svm")
    assert not (source / "svm").exists()


def test_without_scikit_learn_it_says_what_to_install(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(MissingDependencyError, match=r"fer-edge\[train\]"):
        train_svm(source, "made up", source / "svm")
