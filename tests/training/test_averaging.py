import pytest
import torch
from torch import nn

from fer_edge.training.averaging import MovingAverage


def follow(average: MovingAverage, model: nn.Linear, values: list[float]) -> float:
    """What the average is after the model's one weight had each of the values."""
    for value in values:
        with torch.no_grad():
            model.weight.fill_(value)
        average.update_parameters(model)
    return average.module.weight.item()


@pytest.fixture
def model() -> nn.Linear:
    return nn.Linear(1, 1, bias=False)


def test_the_first_weights_do_not_outweigh_the_others_in_few_steps(model: nn.Linear) -> None:
    # A constant decay of 0.999 would leave 0.97 of them.
    assert follow(MovingAverage(model, 0.999), model, [1] + [0] * 30) < 0.001


def test_after_many_steps_the_decay_is_the_one_asked_for(model: nn.Linear) -> None:
    average = MovingAverage(model, 0.9)
    assert average.decay_after(79) < 0.9 == average.decay_after(81)
    follow(average, model, [1] * 100)
    assert follow(average, model, [0] * 5) == pytest.approx(0.9**5)


def test_it_goes_on_where_it_was(model: nn.Linear) -> None:
    """A resumed run averages as an unbroken one."""
    average = MovingAverage(model, 0.999)
    follow(average, model, [1, 2, 3])
    again = MovingAverage(model, 0.999)
    again.load_state_dict(average.state_dict())
    assert follow(again, model, [4, 5]) == follow(average, model, [4, 5])
