"""How data sets spell emotions and splits."""

import re
from typing import Final, Literal, get_args

from fer_edge.contract import EMOTIONS

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
    "test": "test",
    "testing": "test",
}

_COUNT = re.compile(r"^[0-9]+[ _.-]+")

SPELLINGS: Final[dict[str, str]] = {
    **{name: name for name in EMOTIONS},
    "anger": "angry",
    "angriness": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "fearfulness": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "joyful": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "suprise": "surprise",
    "neutrality": "neutral",
}
"""Emotions of ``EMOTIONS`` as data sets spell them, lower case. Numbers are none of them: every
data set numbers emotions in its own order."""

OTHERS: Final = frozenset(
    {
        *("contempt", "contemptuous", "compound", "none", "nf", "no-face", "non-face", "other"),
        *("others", "uncertain", "unknown"),
    }
)
"""What data sets have beside the seven emotions, lower case: dropped, and counted."""


def emotion_label(name: str) -> int | None:
    """Return the label 0..6 of a spelling, in any case and with spaces around, or else None.

    A number may stand before it, as in ``0_angry``.
    """
    emotion = SPELLINGS.get(_COUNT.sub("", name.strip().lower()))
    return None if emotion is None else EMOTIONS.index(emotion)


def is_other(name: str) -> bool:
    """Tell whether a label is one of :data:`OTHERS`, spelled as :func:`emotion_label` takes it."""
    return _COUNT.sub("", name.strip().lower()) in OTHERS


def split_of_file(name: str) -> Split | None:
    """Return the split that the first word of a file's name tells, as of ``test_labels.csv``."""
    return SPLIT_FOLDERS.get(re.split(r"[^a-z]", name.rpartition("/")[2].lower(), maxsplit=1)[0])


def split_name(name: str) -> Split | None:
    """Return the split that a csv calls ``name``, in any case and with spaces around."""
    key = name.strip().lower()
    return USAGES.get(key) or SPLIT_FOLDERS.get(key)
