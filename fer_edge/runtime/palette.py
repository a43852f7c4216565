"""A colour for each emotion, the same wherever it is drawn."""

from typing import Final

from fer_edge.contract import EMOTIONS

EMOTION_COLORS: Final = dict(
    zip(
        EMOTIONS,
        ("#f2555a", "#6fbf4b", "#b57bea", "#f7c325", "#4aa3f0", "#34c6d8", "#c3cad4"),
        strict=True,
    )
)
"""sRGB hex; light enough for dark text on them."""
