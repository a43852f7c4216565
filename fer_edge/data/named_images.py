"""Images whose names tell the emotion: JAFFE (``KA.AN1.39.tiff``) and KDEF (``AF01ANS.JPG``)."""

import re
from pathlib import PurePosixPath

from fer_edge.data.labels import emotion_label
from fer_edge.data.listing import Entry, Listing
from fer_edge.data.numbering import Numbering
from fer_edge.data.sources import Source
from fer_edge.pixels.image_file import SUFFIXES

_CODES = {
    "AF": "afraid",  # KDEF
    "AN": "angry",
    "DI": "disgust",
    "FE": "fear",  # JAFFE
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprise",
}
_NAMES = (
    re.compile(r"[A-Z]{2}\.(AN|DI|FE|HA|NE|SA|SU)\d\.\d+", re.I),
    re.compile(r"[AB][FM]\d{2}(AF|AN|DI|HA|NE|SA|SU)(?:S|HL|HR|FL|FR)", re.I),
)


def find_named(
    source: Source, numbering: Numbering | None = None, extra: tuple[str, ...] = ()
) -> Listing | None:
    """List images named as those of JAFFE or KDEF are; None unless most are.

    Faces are found and cut out. Nobody is in two splits.

    References
    ----------
    Lyons et al., "Coding Facial Expressions with Gabor Wavelets", FG 1998 (JAFFE).
    Lundqvist, Flykt, Öhman, "The Karolinska Directed Emotional Faces", 1998 (KDEF).
    """
    del numbering, extra
    images = [
        path for path in map(PurePosixPath, source.members) if path.suffix.lower() in SUFFIXES
    ]
    entries: list[Entry] = []
    for path in images:
        match = next((m for name in _NAMES if (m := name.fullmatch(path.stem))), None)
        label = emotion_label(_CODES[match[1].upper()]) if match else None
        if label is not None:
            entries.append(Entry(str(path), label, None))
    if 2 * len(entries) <= len(images):
        return None
    return Listing(entries, photos=True)
