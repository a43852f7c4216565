"""How data sets spell emotions and splits."""

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
    "neutrality": "neutral",
}
"""Emotions of ``EMOTIONS`` as data sets spell them, lower case. Numbers are none of them: every
data set numbers emotions in its own order."""


def emotion_label(name: str) -> int | None:
    """Return the label 0..6 of a spelling, in any case and with spaces around, or else None."""
    emotion = SPELLINGS.get(name.strip().lower())
    return None if emotion is None else EMOTIONS.index(emotion)


def split_name(name: str) -> Split | None:
    """Return the split that a csv calls ``name``, in any case and with spaces around."""
    key = name.strip().lower()
    return USAGES.get(key) or SPLIT_FOLDERS.get(key)
