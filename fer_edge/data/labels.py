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

_SPELLINGS: Final = {
    **{name: name for name in EMOTIONS},
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


def emotion_label(name: str) -> int | None:
    """Return the label 0..6 of an emotion as data sets spell it, or None where it is none."""
    emotion = _SPELLINGS.get(name.strip().lower())
    return None if emotion is None else EMOTIONS.index(emotion)
