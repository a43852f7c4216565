from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from fer_edge.data import FaceDataset
from fer_edge.errors import ModelError
from fer_edge.models import build_model
from fer_edge.training.checkpoint import save_model
from fer_edge.training.config import TrainConfig
from fer_edge.training.distill import Teacher
from fer_edge.training.trainer import Trainer, normalise


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
    loss = Teacher([Says(first), Says(second)], 2.0).loss(FACES, student)
    torch.testing.assert_close(loss, by_hand)


def test_a_student_that_agrees_has_no_loss() -> None:
    logits = [3.0, 1, 0, 0, 0, 0, 2]
    loss = Teacher([Says(logits)], 4.0).loss(FACES, torch.tensor([logits, logits]))
    assert float(loss) == pytest.approx(0, abs=1e-6)


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
        expert = Teacher.load(config(teachers=[str(teacher)]), torch.device("cpu")).networks[0]
        with torch.no_grad():
            student = functional.log_softmax(made.model.eval()(faces), 1)
            return float(
                functional.kl_div(student, expert(faces).softmax(1), reduction="batchmean")
            )

    before = distance()
    made.fit()
    assert distance() < 0.7 * before


def test_a_teacher_that_does_not_say_what_it_is_is_refused(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    path = tmp_path / "anonymous.safetensors"
    save_model(path, build_model("tiny"), {})
    with pytest.raises(ModelError, match="does not say which model"):
        Teacher.load(config(teachers=[str(path)]), torch.device("cpu"))
