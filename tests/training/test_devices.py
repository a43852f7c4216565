import pytest
import torch

from fer_edge.errors import UsageError
from fer_edge.training.devices import resolve_device


@pytest.mark.parametrize(
    ("name", "gpus", "message"),
    [
        ("cuda", 0, "--device cuda: torch sees no GPU"),
        ("cuda:1", 1, "--device cuda:1: torch sees 1 GPU"),
        ("meta", 0, "--device meta is not supported"),
        ("gpu", 0, "--device gpu is not a device"),
    ],
)
def test_a_device_that_is_not_there_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UsageError, match=message):
        resolve_device(name)


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cuda")])
def test_auto_takes_the_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, gpus: int, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    assert resolve_device("auto").type == device
