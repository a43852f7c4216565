"""What a training run is made from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
from pydantic.dataclasses import dataclass

from fer_edge.contract import Contract
from fer_edge.errors import TrainingError, UsageError
from fer_edge.files import write_text
from fer_edge.models import model_contract, model_spec
from fer_edge.models.weights import imagenet_source
from fer_edge.training.declaration import Declared, flags
from fer_edge.training.options import TrainOptions

CONFIG = "config.json"
_FLAGS = flags(TrainOptions)
_RATE = 0.1 / 128
"""Learning rate for each face of a batch."""
_TUNING_RATE = _RATE / 5
_RULES = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_RULES)
class TrainConfig(TrainOptions):
    """Everything that decides the result of a run; written beside it as ``config.json``.

    Its fields are the options of :class:`~fer_edge.training.options.TrainOptions`, checked, and
    what a run finds.
    """

    pretrained_from: str | None = None
    """Source and licence of the ImageNet weights. A run's own config has it."""

    @pydantic.field_validator("data", mode="before")
    @classmethod
    def _one_source(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _as_many_weights_as_sources(self) -> "TrainConfig":
        if self.data_weights and len(self.data_weights) != len(self.data):
            raise ValueError(
                f"{len(self.data_weights)} of --data-weight for {len(self.data)} of --data"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _something_to_hold_out(self) -> "TrainConfig":
        if self.hold_out and len(self.data) == 1:
            raise ValueError("--hold-out is for further data sets: the first has val and test")
        return self

    @pydantic.model_validator(mode="after")
    def _one_start(self) -> "TrainConfig":
        starts = ("pretrained", "weights", "grow_from")
        if len(given := [_FLAGS[name] for name in starts if getattr(self, name)]) > 1:
            raise ValueError(" and ".join(given) + " exclude each other")
        return self

    @pydantic.model_validator(mode="after")
    def _something_under_the_head(self) -> "TrainConfig":
        if self.new_head and not self.weights:
            raise ValueError("--new-head needs --weights, whose features it keeps")
        return self

    @classmethod
    def checked(cls, **values: object) -> "TrainConfig":
        """Build a config; UsageError says which value cannot be used and why."""
        try:
            return _reader().validate_python(values)
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            if not problem["loc"]:
                raise UsageError(f"{problem['msg'].removeprefix('Value error, ')}.") from error
            name = str(problem["loc"][0])
            flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
            raise UsageError(f"{flag} {problem['input']}: {problem['msg'].lower()}.") from error

    @property
    def contract(self) -> Contract:
        """What the model will take and give; raises as :func:`fer_edge.models.model_contract`."""
        return model_contract(self.model, self.size, self.color)

    @property
    def rate(self) -> float:
        """Highest learning rate.

        Where none is given it follows the batch (Goyal et al. 2017, arXiv:1706.02677), and stays
        low where trained weights go on.
        """
        if self.lr is not None:
            return self.lr
        trained = self.weights or self.pretrained or self.grow_from
        return (_TUNING_RATE if trained else _RATE) * self.batch

    def resolved(self) -> "TrainConfig":
        """The same with all that follows from other values said, for a run to keep."""
        contract = self.contract
        source = self.pretrained_from
        if self.pretrained:
            source = imagenet_source(model_spec(self.model))
        return replace(
            self,
            size=contract.size,
            color=contract.color,
            lr=self.rate,
            pretrained_from=source,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return _reader().dump_python(self, mode="json")

    def save(self, run: Path) -> None:
        write_text(run / CONFIG, _reader().dump_json(self, indent=2).decode() + "\n")

    @classmethod
    def load(cls, run: Path) -> "TrainConfig":
        """Read the config of a run folder; TrainingError if it is no run folder."""
        path = run / CONFIG
        if not path.is_file():
            raise TrainingError(
                f"{run} is not a training run: it has no {CONFIG}.",
                hint="Make one with: fer-edge train --data fer2013.zip --out RUN",
            )
        try:
            return _reader().validate_json(path.read_bytes())
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            where = "".join(f"{part}: " for part in problem["loc"])
            raise TrainingError(
                f"{path} is damaged: {where}{problem['msg']}.", hint="Train into a new folder."
            ) from error


def problem_with(option: Declared, value: object) -> str | None:
    """Why an option cannot have this value, or None where it can."""
    rules = pydantic.ConfigDict(allow_inf_nan=False)
    try:
        pydantic.TypeAdapter(option.annotation, config=rules).validate_python(value)
    except pydantic.ValidationError as error:
        return error.errors()[0]["msg"].lower()
    return None


def _reader() -> pydantic.TypeAdapter[TrainConfig]:
    return pydantic.TypeAdapter(TrainConfig)
