"""What a training run is made from."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from fer_edge.contract import SIZES, Color, Contract
from fer_edge.errors import TrainingError, UsageError
from fer_edge.files import write_text
from fer_edge.models import model_contract, model_spec
from fer_edge.models.weights import imagenet_source

CONFIG = "config.json"


class TrainConfig(pydantic.BaseModel):
    """Everything that decides the result of a run; written beside it as ``config.json``."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = "compact"
    size: int | None = pydantic.Field(None, ge=SIZES[0], le=SIZES[1])
    """Side of the faces in pixels; None for the model's own. A run's own config has it."""
    color: Color | None = None
    """Of the faces; None for the model's own."""
    data: tuple[str, ...] = pydantic.Field(min_length=1)
    """Data sets to train on; val is the first one's."""
    data_weights: tuple[Annotated[float, pydantic.Field(gt=0)], ...] = ()
    """Weight in the loss of each data set's faces; empty for 1 each."""
    labels: str | None = None
    """What numbers mean in data sets that have them for emotions, as for ``load_dataset``."""
    exclude: str | None = None
    """Report of ``fer-edge data`` whose flagged training faces count ``exclude_weight``."""
    exclude_weight: float = pydantic.Field(0.0, ge=0, le=1)
    epochs: int = pydantic.Field(30, ge=1)
    batch: int = pydantic.Field(128, ge=2)
    lr: float = pydantic.Field(0.1, gt=0)
    momentum: float = pydantic.Field(0.9, ge=0, lt=1)
    weight_decay: float = pydantic.Field(5e-4, ge=0)
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    label_smoothing: float = pydantic.Field(0.1, ge=0, lt=1)
    ema: float = pydantic.Field(0.999, ge=0, lt=1)
    """Decay per step of the averaged weights; 0 turns averaging off."""
    class_balance: float = pydantic.Field(0.0, ge=0, le=1)
    """Exponent of the loss weights ``count ** -class_balance``: 0 none, 1 all classes alike."""
    logit_adjustment: float = pydantic.Field(0.0, ge=0)
    """Tau of post-hoc logit adjustment: the published model names rare emotions more often."""
    teachers: tuple[str, ...] = ()
    """Models whose mean probabilities are learned: ``best.safetensors`` of runs, or artifacts."""
    distillation: float = pydantic.Field(0.5, ge=0, le=1)
    """Share of the teachers in the loss; nothing without teachers."""
    distillation_temperature: float = pydantic.Field(2.0, gt=0)
    soft_labels: bool = False
    """Ask the teachers once about every face and its mirror image, rather than about each batch."""
    initial_size: int | None = pydantic.Field(None, ge=16, le=SIZES[1])
    """Side of the faces in the first epochs; it grows in steps of 8 to their full size, which None
    stands for."""
    mixup: float = pydantic.Field(0.0, ge=0)
    """Alpha of mixup; 0 turns it off."""
    cutmix: float = pydantic.Field(0.0, ge=0)
    """Alpha of CutMix; 0 turns it off. With both, every batch draws one of them."""
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
    degradation: float = pydantic.Field(0.0, ge=0, le=1)
    """Probability of a fault of cameras: low resolution, blur, gamma, noise or JPEG's blocks."""
    dropout: float | None = pydantic.Field(None, ge=0, lt=1)
    """None for the model's own."""
    drop_path: float = pydantic.Field(0.0, ge=0, lt=1)
    """Stochastic depth: probability that the last residual block is skipped; 0 for the first."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = pydantic.Field(0, ge=0, lt=2**32)
    pretrained: bool = False
    pretrained_from: str | None = None
    """Source and licence of the ImageNet weights. A run's own config has it."""
    weights: str | None = None
    grow_from: str | None = None
    """A trained compact (``.safetensors`` or artifact) that a ResNet-50 starts as."""
    int8_weights: bool = False
    """Train with weights rounded as INT8 does, so that ``export --int8`` changes none."""
    fer_plus: str | None = None
    compile: bool = False
    device: str = "auto"

    @pydantic.field_validator("data", mode="before")
    @classmethod
    def _one_source(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _as_many_weights_as_sources(self) -> "TrainConfig":
        if self.data_weights and len(self.data_weights) != len(self.data):
            raise ValueError(f"{len(self.data_weights)} data_weights for {len(self.data)} data")
        return self

    @pydantic.model_validator(mode="after")
    def _one_start(self) -> "TrainConfig":
        starts = ("pretrained", "weights", "grow_from")
        if len(given := [name for name in starts if getattr(self, name)]) > 1:
            raise ValueError(" and ".join(given) + " exclude each other")
        return self

    @classmethod
    def checked(cls, **values: object) -> "TrainConfig":
        """Build a config; UsageError says which value cannot be used and why."""
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            if not problem["loc"]:
                raise UsageError(f"{problem['msg'].removeprefix('Value error, ')}.") from error
            name = "--" + str(problem["loc"][0]).replace("_", "-")
            raise UsageError(f"{name} {problem['input']}: {problem['msg'].lower()}.") from error

    @property
    def contract(self) -> Contract:
        """What the model will take and give; raises as :func:`fer_edge.models.model_contract`."""
        return model_contract(self.model, self.size, self.color)

    def resolved(self) -> "TrainConfig":
        """The same with size, colour and the source of ImageNet weights said, for a run to keep."""
        contract = self.contract
        said: dict[str, object] = {"size": contract.size, "color": contract.color}
        if self.pretrained:
            said["pretrained_from"] = imagenet_source(model_spec(self.model))
        return self.model_copy(update=said)

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
