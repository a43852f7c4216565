import pytest
import torch
from torch import nn

from fer_edge.contract import FER2013, Contract
from fer_edge.errors import ModelError, UsageError
from fer_edge.models.trial import check_model


def flattening() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, 4), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 12 * 12, 7)
    )


def test_what_it_can_take_leaves_it_as_it_was() -> None:
    model = flattening().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_model(model, "mine", FER2013)
    assert model.training
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("contract", "size", "says"),
    [
        (Contract(96), None, "mine cannot take grayscale faces of 96x96: .*[a-z]"),
        (Contract(48, "rgb"), None, "mine cannot take rgb faces of 48x48: .*3 channels"),
        (FER2013, 32, "mine cannot take grayscale faces of 32x32: "),
    ],
)
def test_a_size_or_colour_that_it_cannot_take_is_told_in_a_line(
    contract: Contract, size: int | None, says: str
) -> None:
    model = flattening().train()
    with pytest.raises(UsageError, match=says) as caught:
        check_model(model, "mine", contract, size)
    assert "\n" not in str(caught.value)
    assert model.training


def test_other_outputs_than_labels_are_refused() -> None:
    with pytest.raises(ModelError, match=r"mine gives \(2, 7\) for 2 faces, not a row of 2"):
        check_model(flattening(), "mine", Contract(labels=("up", "down")))
    with pytest.raises(ModelError, match="mine gives tuple for 2 faces"):
        check_model(Twice(), "mine", FER2013)


class Twice(nn.Module):
    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return faces, faces
