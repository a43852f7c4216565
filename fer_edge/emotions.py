"""What labels mean, however a data set or a network spells them.

Another label set takes nothing but this file: a spelling of a known emotion goes into
:data:`SPELLINGS`, and what has no entry stands for itself.
"""

import re
from typing import Final

from fer_edge.contract import EMOTIONS

UNSURE: Final = "unsure"
"""What is shown where no emotion is named, as none is probable enough."""

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
    "contemptuous": "contempt",
}
"""Emotions as people spell them, lower case. Numbers are none of them: every data set numbers
emotions in its own order."""


def meaning(label: str) -> str:
    """The emotion that a label stands for, in any case and with spaces around; or itself.

    A number may stand before it, as in ``0_angry``.
    """
    name = _COUNT.sub("", label.strip().lower())
    return SPELLINGS.get(name, name)
