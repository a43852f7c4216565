"""What numbers mean where a data set writes them in the place of emotions."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fer_edge.data.labels import OTHERS, emotion_label
from fer_edge.errors import UsageError

Numbering = Mapping[int, str]
"""Number to the name of an emotion, as ``fer_edge.data.labels`` spells it."""

_FER2013 = "angry disgust fear happy sad surprise neutral"
_RAF_DB = "surprise fear disgust happy sad angry neutral"
_AFFECTNET = "neutral happy sad surprise fear disgust angry contempt"


def _count(names: str, start: int = 0) -> Numbering:
    return MappingProxyType(dict(enumerate(names.split(), start)))


NUMBERINGS: Final[Mapping[str, Numbering]] = MappingProxyType(
    {
        "fer2013": _count(_FER2013),
        "expw": _count(_FER2013),
        "raf-db": _count(_RAF_DB, 1),
        "raf-db-from-0": _count(_RAF_DB),
        "affectnet": _count(_AFFECTNET),
        "ck+": _count("neutral angry contempt disgust fear happy sad surprise"),
        "ckextended": _count(f"{_FER2013} contempt"),
    }
)
"""The orders of published data sets: FER2013 and ExpW, RAF-DB (from 1, and as many programs count
from 0), AffectNet, CK+ (its own emotion files) and its csv on Kaggle."""


def parse_numbering(text: str) -> Numbering:
    """Read ``raf-db`` or ``1=surprise,2=fear``.

    Raises
    ------
    UsageError
        Neither one of :data:`NUMBERINGS` nor such a list.
    """
    if (known := NUMBERINGS.get(text.strip().lower())) is not None:
        return known
    meaning: dict[int, str] = {}
    for part in text.split(","):
        number, equals, name = (word.strip() for word in part.partition("="))
        if not equals or not re.fullmatch(r"[0-9]{1,4}", number):
            raise UsageError(
                f"--labels {text}: {part.strip() or 'nothing'} gives no number a meaning.",
                hint=f"Say {', '.join(NUMBERINGS)}, or for example 0=angry,1=disgust",
            )
        if emotion_label(name) is None and name.lower() not in OTHERS:
            raise UsageError(
                f"--labels {text}: {name or 'nothing'} is no emotion.",
                hint=f"For what is none of the seven, say one of {', '.join(sorted(OTHERS))}.",
            )
        meaning[int(number)] = name
    return MappingProxyType(meaning)


def named(label: str, numbering: Numbering | None) -> str:
    """What ``label`` is called: itself, or what the number in it means."""
    text = label.strip().removesuffix(".0")
    if numbering is None or not re.fullmatch(r"[0-9]{1,4}", text):
        return label
    return numbering.get(int(text), label)


def is_number(label: str) -> bool:
    return re.fullmatch(r"[0-9]{1,4}(\.0)?", label.strip()) is not None
