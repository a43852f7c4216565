"""A colour for each label, the same wherever it is drawn."""

import colorsys
import zlib
from collections.abc import Iterable
from typing import Final

from fer_edge.contract import EMOTIONS
from fer_edge.emotions import UNSURE, meaning

EMOTION_COLORS: Final = dict(
    zip(
        (*EMOTIONS, "contempt"),
        ("#f2555a", "#6fbf4b", "#b57bea", "#f7c325", "#4aa3f0", "#34c6d8", "#c3cad4", "#f0883e"),
        strict=True,
    )
)
"""sRGB hex; light enough for dark text on them."""
_UNSURE_COLOR = "#9aa1ab"


def tones(labels: Iterable[str]) -> dict[str, str]:
    """CSS colours of labels that are not called as the live page's style sheet calls emotions."""
    return {
        label: f"var(--{meaning(label)})" if meaning(label) in EMOTIONS else color_of(label)
        for label in labels
        if label not in EMOTIONS
    }


def color_of(label: str) -> str:
    """The colour of the emotion that a label means; else one that its name alone decides."""
    if label == UNSURE:
        return _UNSURE_COLOR
    name = meaning(label)
    if name in EMOTION_COLORS:
        return EMOTION_COLORS[name]
    hue = zlib.crc32(name.encode()) / 2**32
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, 0.68, 0.6))
    return f"#{red:02x}{green:02x}{blue:02x}"
