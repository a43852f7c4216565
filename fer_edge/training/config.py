"""What a training run is made from."""

from pathlib import Path
from typing import Literal

import pydantic

from fer_edge.errors import TrainingError, UsageError
from fer_edge.files import write_text

CONFIG = "config.json"


class TrainConfig(pydantic.BaseModel):
    """Everything that decides the result of a run; written beside it as ``config.json``."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = "compact"
    data: str
    epochs: int = pydantic.Field(30, ge=1)
    batch: int = pydantic.Field(128, ge=2)
    lr: float = pydantic.Field(0.1, gt=0)
    momentum: float = pydantic.Field(0.9, ge=0, lt=1)
    weight_decay: float = pydantic.Field(5e-4, ge=0)
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    label_smoothing: float = pydantic.Field(0.1, ge=0, lt=1)
    ema: float = pydantic.Field(0.999, ge=0, lt=1)
    """Decay per step of the averaged weights; 0 turns averaging off."""
    class_weights: Literal["none", "sqrt", "balanced"] = "none"
    augment: bool = True
    flip: float = pydantic.Field(0.5, ge=0, le=1)
    rotation: float = pydantic.Field(10.0, ge=0, le=180)
    """Degrees either way."""
    shift: float = pydantic.Field(0.1, ge=0, le=1)
    """Share of the side, either way."""
    scale: float = pydantic.Field(0.1, ge=0, lt=1)
    brightness: float = pydantic.Field(0.2, ge=0, lt=1)
    """Share of contrast, and of half the pixel scale, either way."""
    erasing: float = pydantic.Field(0.25, ge=0, le=1)
    """Probability that a rectangle is erased."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = pydantic.Field(0, ge=0, lt=2**32)
    pretrained: bool = False
    weights: str | None = None
    fer_plus: str | None = None
    compile: bool = False
    device: str = "auto"

    @classmethod
    def checked(cls, **values: object) -> "TrainConfig":
        """Build a config; UsageError says which value cannot be used and why."""
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            name = "--" + str(problem["loc"][0]).replace("_", "-")
            raise UsageError(f"{name} {problem['input']}: {problem['msg'].lower()}.") from error

    def save(self, run: Path) -> None:
        write_text(run / CONFIG, self.model_dump_json(indent=2) + "\n")

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
            return cls.model_validate_json(path.read_bytes())
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            where = "".join(f"{part}: " for part in problem["loc"])
            raise TrainingError(
                f"{path} is damaged: {where}{problem['msg']}.", hint="Train into a new folder."
            ) from error
