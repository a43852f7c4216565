"""How data sets spell emotions and splits."""

import re
from typing import Final, Literal, get_args

from fer_edge.contract import EMOTIONS
from fer_edge.emotions import meaning

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)

USAGES: Final[dict[str, Split]] = {
    "training": "train",
    "publictest": "val",
    "privatetest": "test",
}
"""The official FER2013 splits, lower case, as csv files and image names carry them."""

SPLIT_FOLDERS: Final[dict[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "evaluation": "val",
    "test": "test",
    "testing": "test",
}

OTHERS: Final = frozenset(
    {
        *("contempt", "contemptuous", "compound", "none", "nf", "no-face", "non-face", "other"),
        *("others", "uncertain", "unknown"),
    }
)
"""What data sets have beside the seven emotions, lower case: dropped, and counted."""


def emotion_label(name: str, extra: tuple[str, ...] = ()) -> int | None:
    """Return the label of a spelling, as :func:`fer_edge.emotions.meaning` reads it, or None.

    It is 0..6 for ``EMOTIONS``, and goes on with ``extra``: what else is not to be dropped.
    """
    classes = (*EMOTIONS, *extra)
    emotion = meaning(name)
    return classes.index(emotion) if emotion in classes else None


def is_other(name: str) -> bool:
    """Tell whether a label is one of :data:`OTHERS`, spelled as :func:`emotion_label` takes it."""
    return meaning(name) in OTHERS


def split_of_file(name: str) -> Split | None:
    """Return the split that the first word of a file's name tells, as of ``test_labels.csv``."""
    return SPLIT_FOLDERS.get(re.split(r"[^a-z]", name.rpartition("/")[2].lower(), maxsplit=1)[0])


def split_name(name: str) -> Split | None:
    """Return the split that a csv calls ``name``, in any case and with spaces around."""
    key = name.strip().lower()
    return USAGES.get(key) or SPLIT_FOLDERS.get(key)
