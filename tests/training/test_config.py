from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.errors import TrainingError, UsageError
from fer_edge.training.config import CONFIG, TrainConfig
from fer_edge.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch", 0),
        ("batch", 1),
        ("lr", 0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("momentum", 1),
        ("weight_decay", -1),
        ("schedule", "linear"),
        ("label_smoothing", 1),
        ("ema", 1),
        ("class_balance", 1.1),
        ("initial_size", 261),
        ("size", 23),
        ("size", 261),
        ("color", "bgr"),
        ("mixup", -1),
        ("distillation", 2),
        ("distillation_temperature", 0),
        ("dropout", 1),
        ("drop_path", 1),
        ("flip", 1.1),
        ("rotation", -1),
        ("shift", 2),
        ("scale", 1),
        ("brightness", 1),
        ("erasing", -0.1),
        ("precision", "int8"),
        ("seed", -1),
        ("seed", 2**64),
        ("nonsense", 1),
    ],
)
def test_a_value_out_of_range_is_named_by_its_option(name: str, value: object) -> None:
    option = "--" + name.replace("_", "-")
    with pytest.raises(UsageError, match=f"^{option} {value}: .*[a-z]") as caught:
        TrainConfig.checked(data="d", **{name: value})
    assert "\n" not in str(caught.value)


def test_a_config_survives_its_file(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    saved = config(lr=0.3, schedule="cosine", weights="w.safetensors", compile=True)
    saved.save(tmp_path)
    assert TrainConfig.load(tmp_path) == saved


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({}, 0.1),
        ({"batch": 32}, 0.025),
        ({"weights": "w.safetensors"}, 0.02),
        ({"weights": "w.safetensors", "new_head": True}, 0.02),
        ({"pretrained": True, "batch": 256}, 0.04),
        ({"grow_from": "compact"}, 0.02),
        ({"batch": 32, "lr": 0.3}, 0.3),
    ],
)
def test_the_rate_follows_the_batch_and_is_low_for_trained_weights(
    values: dict[str, object], rate: float
) -> None:
    chosen = TrainConfig.checked(**({"data": "d", "batch": 128} | values))
    assert chosen.rate == pytest.approx(rate)
    assert learning_rate(chosen, 25, 100) == pytest.approx(rate)  # its top


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"data": "d", "epochs": 0}', "epochs: Input should be greater"),
        ('{"epochs": 3}', "data: Field required"),
        ('{"data": "d", "ep', "Invalid JSON"),
        ("", "Invalid JSON"),
        ("[]", "Input should be an object"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(TrainingError, match=rf"config\.json is damaged: {problem}"):
        TrainConfig.load(tmp_path)


def test_a_folder_without_a_config_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is not a training run"):
        TrainConfig.load(tmp_path)


def test_one_source_needs_no_list() -> None:
    assert TrainConfig.checked(data="a.zip").data == ("a.zip",)


def test_nothing_is_held_out_of_the_first_data_set() -> None:
    with pytest.raises(UsageError, match=r"^--hold-out is for further data sets"):
        TrainConfig.checked(data="d", hold_out=0.5)


def test_weights_are_as_many_as_data_sets() -> None:
    with pytest.raises(UsageError, match=r"^1 of --data-weight for 2 of --data"):
        TrainConfig.checked(data=("a", "b"), data_weights=(0.5,))


def test_a_new_head_is_of_weights() -> None:
    with pytest.raises(UsageError, match="--new-head needs --weights"):
        TrainConfig.checked(data="d", new_head=True)
