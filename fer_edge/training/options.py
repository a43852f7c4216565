"""Every option of a training. To add one, add a field here and use it.

``fer-edge train``, the keys of recipes, their checks and the reference page are made from these.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from fer_edge.contract import SIZES, Color
from fer_edge.training.declaration import Option

Weight = Annotated[float, Gt(0)]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What decides the result of a training."""

    data: Annotated[
        tuple[str, ...],
        MinLen(1),
        Option(
            "FER2013 as csv, zip or folder; its val split chooses the best epoch. Again for "
            "further data sets to train on.",
            "data",
            key="sources",
            path=True,
        ),
    ]
    data_weights: Annotated[
        tuple[Weight, ...],
        Option(
            "Weight of the labels of each --data in the loss; what teachers say of its faces "
            "counts alike.",
            "data",
            key="weights",
            flag="data_weight",
            unset="1 each",
        ),
    ] = ()
    hold_out: Annotated[
        float,
        Ge(0),
        Lt(1),
        Option(
            "Share of each further --data that no training sees: fer-edge evaluate --held-out "
            "scores it.",
            "data",
        ),
    ] = 0.0
    labels: Annotated[
        str | None,
        Option(
            "What numbers mean in data that have them for emotions: raf-db, affectnet, ck+ … or "
            "0=angry,1=disgust and so on. With several --data fer2013.csv keeps its own.",
            "data",
        ),
    ] = None
    exclude: Annotated[
        str | None,
        Option(
            "Report of fer-edge data: leave out the training faces that it flags.",
            "data",
            path=True,
        ),
    ] = None
    exclude_weight: Annotated[
        float, Ge(0), Le(1), Option("Weigh the flagged faces rather than leave them out.", "data")
    ] = 0.0
    fer_plus: Annotated[
        str | None,
        Option("fer2013new.csv: train on its votes as soft labels.", "data", path=True),
    ] = None
    faces: Annotated[
        int | None,
        Ge(2),
        Option(
            "Train on so many faces only, and score so many of val, drawn at random: to see in a "
            "minute that a network learns.",
            "data",
            unset="all",
        ),
    ] = None

    model: Annotated[
        str, Option("A wrong name lists them all.", "model", key="name", short="-m")
    ] = "compact"
    size: Annotated[
        int | None,
        Ge(SIZES[0]),
        Le(SIZES[1]),
        Option(
            "Side of the faces in pixels, made from the files' own.",
            "model",
            unset="the model's, 48 for those of this package",
        ),
    ] = None
    """A run's own config has it."""
    color: Annotated[
        Color | None,
        Option(
            "Of the faces; rgb is for networks that take three channels.",
            "model",
            unset="the model's, gray",
        ),
    ] = None
    """A run's own config has it."""
    weights: Annotated[
        str | None,
        Option(
            "Start from this .safetensors, torch state dict, artifact, or name of a model.",
            "model",
            path=True,
            published=True,
        ),
    ] = None
    new_head: Annotated[
        bool,
        Option(
            "Take the features of --weights alone: the layers after them start at random.",
            "model",
        ),
    ] = False
    grow_from: Annotated[
        str | None,
        Option(
            "Start a resnet50 or vgg19 as this compact or nano (best.safetensors, artifact, name).",
            "model",
            path=True,
            published=True,
        ),
    ] = None
    pretrained: Annotated[
        bool,
        Option(
            "Start from ImageNet weights: of efficientnet-lite0 those that the extra pretrained "
            "installs; of others torchvision's, downloaded.",
            "model",
        ),
    ] = False
    int8_weights: Annotated[
        bool,
        Option("Train with weights rounded to INT8, for an export that loses less.", "model"),
    ] = False
    dropout: Annotated[
        float | None,
        Ge(0),
        Lt(1),
        Option("Rate of the model's dropout layers.", "model", unset="the model's own"),
    ] = None
    drop_path: Annotated[
        float,
        Ge(0),
        Lt(1),
        Option(
            "Stochastic depth: how often the last residual block is skipped; the first never is.",
            "model",
        ),
    ] = 0.0

    epochs: Annotated[int, Ge(1), Option("Passes over the training split.", "optimiser")] = 30
    batch: Annotated[int, Ge(2), Option("Faces per step.", "optimiser")] = 128
    lr: Annotated[
        float | None,
        Gt(0),
        Option(
            "Highest learning rate.",
            "optimiser",
            unset="0.1 for 128 faces, in proportion to --batch; a fifth with --weights, "
            "--pretrained or --grow-from",
        ),
    ] = None
    momentum: Annotated[float, Ge(0), Lt(1), Option("Nesterov momentum.", "optimiser")] = 0.9
    weight_decay: Annotated[
        float, Ge(0), Option("On weights, not on biases or norms.", "optimiser")
    ] = 5e-4
    schedule: Annotated[
        Literal["one-cycle", "cosine"], Option("Of the learning rate.", "optimiser")
    ] = "one-cycle"
    ema: Annotated[
        float,
        Ge(0),
        Lt(1),
        Option("Decay per step of the averaged weights; 0 for none.", "optimiser"),
    ] = 0.999

    label_smoothing: Annotated[float, Ge(0), Lt(1), Option("0 turns it off.", "loss")] = 0.1
    class_balance: Annotated[
        float,
        Ge(0),
        Le(1),
        Option("Weigh classes by count ** -this: 0 not at all, 1 all classes alike.", "loss"),
    ] = 0.0
    logit_adjustment: Annotated[
        float,
        Ge(0),
        Option(
            "Name rare emotions more often: subtract this times the log of each one's share.",
            "loss",
        ),
    ] = 0.0
    """Tau of post-hoc logit adjustment: the published model has it in its last bias."""
    teachers: Annotated[
        tuple[str, ...],
        Option(
            "best.safetensors, artifact, or name of a model to learn from; again for an ensemble.",
            "loss",
            flag="teacher",
            path=True,
            published=True,
        ),
    ] = ()
    distillation: Annotated[
        float, Ge(0), Le(1), Option("Share of the teachers in the loss.", "loss")
    ] = 0.5
    """Nothing without teachers."""
    distillation_temperature: Annotated[
        float, Gt(0), Option("Softens what teachers and student say.", "loss")
    ] = 2.0
    soft_labels: Annotated[
        bool,
        Option(
            "Ask the teachers once about every face and its mirror image, and keep what they say, "
            "rather than about each batch as the student sees it: epochs cost no teacher.",
            "loss",
        ),
    ] = False

    augment: Annotated[
        bool,
        Option("Flip, rotate, shift, scale, light, erase.", "augmentation", key="enabled"),
    ] = True
    flip: Annotated[
        float, Ge(0), Le(1), Option("Probability of a mirrored face.", "augmentation")
    ] = 0.5
    rotation: Annotated[float, Ge(0), Le(180), Option("Degrees either way.", "augmentation")] = 10.0
    shift: Annotated[
        float, Ge(0), Le(1), Option("Share of the side, either way.", "augmentation")
    ] = 0.1
    scale: Annotated[float, Ge(0), Lt(1), Option("Share, either way.", "augmentation")] = 0.1
    brightness: Annotated[
        float,
        Ge(0),
        Lt(1),
        Option("Share of contrast, and of half the pixel scale, either way.", "augmentation"),
    ] = 0.2
    erasing: Annotated[
        float, Ge(0), Le(1), Option("Probability of an erased rectangle.", "augmentation")
    ] = 0.25
    degradation: Annotated[
        float,
        Ge(0),
        Le(1),
        Option(
            "Probability of a face as cameras give it: small, blurred, dark or bright, noisy or "
            "compressed; with --no-augment, too.",
            "augmentation",
        ),
    ] = 0.0
    mixup: Annotated[float, Ge(0), Option("Alpha; 0 for none.", "augmentation")] = 0.0
    cutmix: Annotated[
        float,
        Ge(0),
        Option("Alpha; 0 for none. With mixup, too, every batch draws one.", "augmentation"),
    ] = 0.0
    initial_size: Annotated[
        int | None,
        Ge(16),
        Le(SIZES[1]),
        Option(
            "Side of the faces in the first epochs, growing to the full size: faster.",
            "augmentation",
            unset="the full size",
        ),
    ] = None
    """It grows in steps of 8."""

    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Option("auto mixes on a GPU, not on a CPU.", "run"),
    ] = "auto"
    compile: Annotated[bool, Option("torch.compile: slower start, faster epochs.", "run")] = False
    device: Annotated[str, Option("auto, cpu or cuda.", "run")] = "auto"
    seed: Annotated[
        int, Ge(0), Lt(2**32), Option("Decides weights, order and augmentation.", "run")
    ] = 0
    keep: Annotated[
        Literal["best", "last"],
        Option(
            "Publish the epoch that is best on val (of equal accuracies the one of the lowest "
            "loss), or the last, which val did not choose: for further data sets that val says "
            "nothing of.",
            "run",
        ),
    ] = "best"


@dataclass(frozen=True, kw_only=True)
class SvmOptions:
    """What decides a support vector machine on the features of a network; in recipes alone.

    They are parameters of :func:`fer_edge.training.svm.train_svm`.
    """

    source_run: Annotated[
        str,
        Option(
            "Run of fer-edge train, or artifact, that the features are of.",
            "svm",
            key="run",
            path=True,
        ),
    ]
    costs: Annotated[
        tuple[Weight, ...],
        MinLen(1),
        Option("Values of C that are tried; val chooses.", "svm"),
    ] = (1e-4, 1e-3, 1e-2)
    """Features are standardised and the loss is a sum over the faces."""
    class_balance: Annotated[
        float, Ge(0), Le(1), Option("Weigh faces by their class's count ** -this.", "svm")
    ] = 0.0
