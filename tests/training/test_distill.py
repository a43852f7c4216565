from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fer_edge.contract import FER2013, Contract
from fer_edge.data import FaceDataset
from fer_edge.errors import ModelError, UsageError
from fer_edge.models import build_model
from fer_edge.training import trainer as trainers
from fer_edge.training.augment import in_color, normalise
from fer_edge.training.checkpoint import save_model
from fer_edge.training.config import TrainConfig
from fer_edge.training.distill import Expert, Teacher, divergence
from fer_edge.training.trainer import Trainer


class Says(nn.Module):
    """Always the same logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(faces), -1)


FACES = torch.zeros(2, 1, 48, 48)


def test_the_loss_is_the_divergence_from_the_mean_of_the_teachers() -> None:
    first, second = [0.0, 2, 0, 0, 0, 0, 0], [4.0, 0, 0, 0, 0, 0, 0]
    student = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0, 0, 3]])
    wanted = (torch.tensor(first).div(2).softmax(0) + torch.tensor(second).div(2).softmax(0)) / 2
    told = student.div(2).softmax(1)
    by_hand = 4 * (wanted * (wanted / told).log()).sum(1).mean()
    teacher = Teacher([Expert(Says(first)), Expert(Says(second))], 2.0)
    loss = divergence(student, teacher.wanted(FACES), 2.0)
    torch.testing.assert_close(loss, by_hand)


def test_a_student_that_agrees_has_no_loss() -> None:
    logits = [3.0, 1, 0, 0, 0, 0, 2]
    wanted = Teacher([Expert(Says(logits))], 4.0).wanted(FACES)
    loss = divergence(torch.tensor([logits, logits]), wanted, 4.0)
    assert float(loss) == pytest.approx(0, abs=1e-6)


class Looks(nn.Module):
    """Keeps what it is shown."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        self.seen = faces
        return torch.zeros(len(faces), 7)


@pytest.mark.parametrize(
    ("contract", "shown", "wanted"),
    [
        (Contract(96, "rgb"), 48, (2, 3, 96, 96)),
        (Contract(32), 48, (2, 1, 32, 32)),
        (Contract(96), 32, (2, 1, 64, 64)),
        (FER2013, 40, (2, 1, 40, 40)),
    ],
)
def test_a_teacher_sees_faces_of_its_own_size_and_colour(
    contract: Contract, shown: int, wanted: tuple[int, ...]
) -> None:
    looks = Looks()
    teacher = Teacher([Expert(looks, contract)], 2.0, size=48)
    teacher.wanted(torch.full((2, 1, shown, shown), 0.5))
    assert looks.seen.shape == wanted
    torch.testing.assert_close(looks.seen, torch.full(wanted, 0.5))


def test_a_gray_teacher_sees_colour_in_gray() -> None:
    looks = Looks()
    faces = torch.randn(2, 3, 64, 64)
    Teacher([Expert(looks, Contract(64))], 2.0, size=64).wanted(faces)
    torch.testing.assert_close(looks.seen, in_color(faces, 1))


def test_a_teacher_of_other_labels_is_refused(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    path = tmp_path / "three.safetensors"
    save_model(path, build_model("colourful"), {"model": "colourful"})
    with pytest.raises(ModelError, match="gives sad, joy, anger; the student learns angry, disg"):
        Teacher.load(config(teachers=[str(path)]), torch.device("cpu"))


def test_a_teacher_that_cannot_take_the_first_faces_is_refused(
    config: Callable[..., TrainConfig], teacher: Path
) -> None:
    values = {"model": "any-size", "size": 96, "teachers": [str(teacher)]}
    assert Teacher.load(config(**values), torch.device("cpu")).size == 96
    with pytest.raises(UsageError, match=r"teacher\.safetensors cannot take .* of 24x24"):
        Teacher.load(config(**values, initial_size=48), torch.device("cpu"))


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    path = tmp_path / "teacher.safetensors"
    save_model(path, build_model("tiny"), {"model": "tiny"})
    return path


def test_a_student_of_teachers_alone_comes_to_agree(
    trainer: Callable[..., Trainer],
    config: Callable[..., TrainConfig],
    train_set: FaceDataset,
    teacher: Path,
) -> None:
    made = trainer(
        teachers=[str(teacher)], distillation=1.0, epochs=8, lr=0.01, ema=0, augment=False
    )
    faces = normalise(torch.as_tensor(train_set.faces))[:, None]

    def distance() -> float:
        expert = (
            Teacher.load(config(teachers=[str(teacher)]), torch.device("cpu")).experts[0].network
        )
        with torch.no_grad():
            student = functional.log_softmax(made.model.eval()(faces), 1)
            return float(
                functional.kl_div(student, expert(faces).softmax(1), reduction="batchmean")
            )

    before = distance()
    made.fit()
    assert distance() < 0.7 * before


def test_a_teacher_that_is_not_there_is_missed_before_a_network_grows(
    trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainers, "initial_network", None)
    with pytest.raises(ModelError, match=r"no weights file .*there\.safetensors\. Train it first"):
        trainer(teachers=["there.safetensors"])


def test_a_teacher_that_does_not_say_what_it_is_is_refused(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    path = tmp_path / "anonymous.safetensors"
    save_model(path, build_model("tiny"), {})
    with pytest.raises(ModelError, match="does not say which model"):
        Teacher.load(config(teachers=[str(path)]), torch.device("cpu"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FER_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def asked(config: Callable[..., TrainConfig], teacher: Path) -> Teacher:
    return Teacher.load(config(teachers=[str(teacher)], soft_labels=True), torch.device("cpu"))


def test_stored_labels_are_the_mean_over_a_face_and_its_mirror_image(
    asked: Teacher, train_set: FaceDataset
) -> None:
    faces = torch.as_tensor(train_set.faces)[:, None]
    stored = asked.stored(train_set, faces)
    network = asked.experts[0].network
    with torch.no_grad():
        both = [network(normalise(view)).div(2).softmax(1) for view in (faces, faces.flip(3))]
    torch.testing.assert_close(stored, (both[0] + both[1]) / 2)


def test_teachers_are_asked_once_about_a_data_set(
    asked: Teacher, train_set: FaceDataset, config: Callable[..., TrainConfig], teacher: Path
) -> None:
    faces = torch.as_tensor(train_set.faces)[:, None]
    calls: list[tuple[int, int]] = []
    first = asked.stored(train_set, faces, lambda *told: calls.append(told))
    assert calls[-1] == (70, 70)
    again = asked.stored(train_set, faces, lambda *_: pytest.fail("asked again"))
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    # The file holds logits: another temperature asks nobody, either.
    values = {"teachers": [str(teacher)], "soft_labels": True, "distillation_temperature": 8.0}
    softer = Teacher.load(config(**values), torch.device("cpu"))
    assert softer.stored(train_set, faces, lambda *_: pytest.fail("asked")).max() < first.max()


def test_another_teacher_or_data_set_is_asked(
    asked: Teacher, train_set: FaceDataset, config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    faces = torch.as_tensor(train_set.faces)[:, None]
    asked.stored(train_set, faces)
    torch.manual_seed(6)
    save_model(tmp_path / "other.safetensors", build_model("tiny"), {"model": "tiny"})
    values = {"teachers": [str(tmp_path / "other.safetensors")], "soft_labels": True}
    calls: list[int] = []
    other = Teacher.load(config(**values), torch.device("cpu"))
    other.stored(train_set, faces, lambda done, _: calls.append(done))
    half = train_set.subset(np.arange(70) < 30)
    asked.stored(half, faces[:30], lambda done, _: calls.append(done))
    assert calls == [70, 30]


def test_a_damaged_file_of_stored_labels_is_made_again(
    asked: Teacher, train_set: FaceDataset, cache: Path
) -> None:
    faces = torch.as_tensor(train_set.faces)[:, None]
    first = asked.stored(train_set, faces)
    (file,) = (cache / "soft-labels").iterdir()
    for damaged in (b"", file.read_bytes()[:200], b"x" * 400):
        file.write_bytes(damaged)
        torch.testing.assert_close(asked.stored(train_set, faces), first, rtol=0, atol=0)
        assert file.stat().st_size > 400


def test_a_student_of_stored_labels_comes_to_agree(
    trainer: Callable[..., Trainer], train_set: FaceDataset, teacher: Path
) -> None:
    made = trainer(
        teachers=[str(teacher)], soft_labels=True, distillation=1.0, epochs=8, lr=0.01, ema=0,
        # The more certain the teacher, the further the student begins from it.
        distillation_temperature=0.25, augment=False, mixup=0.2,
    )  # fmt: skip
    faces = normalise(torch.as_tensor(train_set.faces))[:, None]
    wanted = Teacher.load(made.config, torch.device("cpu")).stored(train_set, made.faces)

    def distance() -> float:
        with torch.no_grad():
            return float(divergence(made.model.eval()(faces), wanted, 0.25))

    before = distance()
    made.fit()
    assert distance() < 0.7 * before
