import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from fer_edge.errors import StorageError, TrainingError
from fer_edge.training.averaging import MovingAverage
from fer_edge.training.checkpoint import LAST, Progress, load_state, save_model, save_state

from .conftest import tiny


@dataclass
class State:
    model: nn.Module
    average: MovingAverage | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler

    def save(self, path: Path, progress: Progress) -> None:
        save_state(path, self.model, self.average, self.optimizer, self.scaler, progress)

    def load(self, path: Path) -> Progress:
        return load_state(path, self.model, self.average, self.optimizer, self.scaler)

    def step(self) -> None:
        """One step on faces and labels that are the same for all."""
        faces = torch.randn(8, 1, 48, 48, generator=torch.Generator().manual_seed(5))
        torch.manual_seed(6)
        nn.functional.cross_entropy(self.model(faces), torch.arange(8) % 7).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def tensors(self) -> dict[str, torch.Tensor]:
        averaged = {} if self.average is None else self.average.state_dict()
        return self.model.state_dict() | {f"average.{k}": v for k, v in averaged.items()}


@pytest.fixture
def fresh() -> Callable[..., State]:
    def make(momentum: float = 0.9, ema: float = 0.5, steps: int = 0) -> State:
        model = tiny().to(memory_format=torch.channels_last)
        average = MovingAverage(model, ema) if ema else None
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum, nesterov=momentum > 0)
        state = State(model, average, optimizer, torch.amp.GradScaler("cpu"))
        for _ in range(steps):
            state.step()
        return state

    return make


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_restored_state_steps_on_as_the_saved_one(
    fresh: Callable[..., State], tmp_path: Path, momentum: float, ema: float
) -> None:
    saved = fresh(momentum, ema, steps=3)
    saved.scaler.load_state_dict(saved.scaler.state_dict() | {"scale": 512.0, "_growth_tracker": 7})
    saved.save(tmp_path / LAST, Progress(4, 3, 0.625))

    restored = fresh(momentum, ema)
    assert restored.load(tmp_path / LAST) == Progress(4, 3, 0.625)
    assert restored.scaler.state_dict() == saved.scaler.state_dict()
    saved.step()
    restored.step()
    torch.testing.assert_close(restored.tensors(), saved.tensors(), rtol=0, atol=0)


def test_a_model_is_saved_with_its_facts(tmp_path: Path) -> None:
    model = tiny()
    save_model(tmp_path / "m.safetensors", model, {"model": "tiny", "val": 0.5})
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        assert file.metadata() == {"model": '"tiny"', "val": "0.5"}
        assert set(file.keys()) == set(model.state_dict())
        assert torch.equal(file.get_tensor("3.weight"), model[3].weight)


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_foreign(path: Path) -> None:
    path.write_text("epoch,loss\n" * 100)


def damage_without_progress(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path)


def damage_other_model(path: Path) -> None:
    save_file({"model.a": torch.zeros(1)}, path, {"progress": "{}", "scaler": "{}"})


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncated,
        damage_empty,
        damage_foreign,
        damage_without_progress,
        damage_other_model,
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(
    fresh: Callable[..., State], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    fresh(steps=1).save(tmp_path / LAST, Progress(1))
    damage(tmp_path / LAST)
    with pytest.raises(TrainingError, match=rf"{LAST} cannot be resumed from") as caught:
        fresh().load(tmp_path / LAST)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_old_checkpoint(fresh: Callable[..., State], tmp_path: Path) -> None:
    state = fresh(steps=1)
    state.save(tmp_path / LAST, Progress(1))
    before = (tmp_path / LAST).read_bytes()
    state.step()
    # A limit on the size of files stops the write half-way, as a full disk does.
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(StorageError, match=rf"Cannot write .*{LAST}: .*File too large"):
            state.save(tmp_path / LAST, Progress(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (tmp_path / LAST).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [LAST]
