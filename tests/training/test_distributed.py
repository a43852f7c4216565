import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fer_edge.data import synthetic_dataset
from fer_edge.errors import UsageError
from fer_edge.training.config import TrainConfig
from fer_edge.training.distributed import Workers
from fer_edge.training.trainer import Trainer

WORKER = """
import sys
from pathlib import Path
import torch
from fer_edge.data import synthetic_dataset
from fer_edge.training.config import TrainConfig
from fer_edge.training.trainer import Trainer

torch.set_num_threads(1)
run, epochs, resume = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "resume"
config = TrainConfig(model="compact", data="made up", epochs=epochs, batch=14, augment=False, ema=0)
train, val = synthetic_dataset(28), synthetic_dataset(14, split="val")
trainer = Trainer(config, train, val, run, resume=resume)
trainer.fit()
weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
torch.save(weights, run / f"weights-{trainer.workers.rank}.pt")
"""


def torchrun(run: Path, epochs: int, mode: str = "start") -> None:
    run.mkdir(exist_ok=True)
    (run / "worker.py").write_text(WORKER)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, run / "worker.py", run, str(epochs), mode],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    import torch

    torchrun(tmp_path, 1)
    first, second = (torch.load(tmp_path / f"weights-{rank}.pt") for rank in (0, 1))
    assert torch.equal(first, second)
    # One process writes.
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(line)["train_loss"])

    torchrun(tmp_path, 2, "resume")
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert load_file(tmp_path / "last.safetensors")


def test_a_batch_that_the_workers_cannot_share_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    config = TrainConfig(model="compact", data="made up", batch=14)
    faces = synthetic_dataset(28)
    with pytest.raises(UsageError, match="--batch 14 does not divide by the 4 processes"):
        Trainer(config, faces, faces, tmp_path)


def test_without_torchrun_there_is_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    workers = Workers.from_environment()
    assert workers == Workers(0, 1, 0)
    assert workers.leads
