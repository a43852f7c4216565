"""Faces held out of a data set: stratified, and the same on every machine."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from pathlib import PurePosixPath

import numpy as np

from fer_edge.data.dataset import FaceDataset

_PERSONS = (
    re.compile(r"(S\d{3})_\d{3}_\d{8}"),  # CK+
    re.compile(r"([A-Z]{2})\.(?:AN|DI|FE|HA|NE|SA|SU)\d"),  # JAFFE
    re.compile(r"[AB]([FM]\d{2})(?:AF|AN|DI|HA|NE|SA|SU)(?:S|HL|HR|FL|FR)\b"),  # KDEF
    re.compile(r"([A-Z][\w.-]*?_[A-Z][\w.-]*)_\d{4}\b"),  # Labeled Faces in the Wild
)


def hold_out(data: FaceDataset, share: float) -> tuple[FaceDataset, FaceDataset]:
    """Part a data set into what is trained on and what is held out, as :func:`choose_held_out`.

    Copies of a face that is held out, pixel for pixel, are held out, too.

    Parameters
    ----------
    data : FaceDataset
        The hash of a face's name decides; without names, that of its number.
    share : float
        Of the faces of every label, 0 to 1; 0 holds nothing out.
    """
    held = np.zeros(len(data), np.bool_)
    if not share:
        return data, data.subset(held)
    names = map(str, range(len(data)) if data.names is None else data.names)
    held[list(choose_held_out(list(names), data.labels.tolist(), share))] = True
    held |= data.copies_of(data.subset(held))
    return data.subset(~held), data.subset(held)


def choose_held_out(names: Sequence[str], labels: Sequence[int], share: float = 0.1) -> set[int]:
    """Choose a share of the faces of every label, at least one of two.

    The hash of a file's name decides, so that the choice depends neither on the order of files nor
    on where they lie, and hardly on what is added to them. Where names tell the person (CK+, JAFFE,
    KDEF, LFW), nobody of three or more is on both sides; the share is then approximate, and that of
    the person with the fewest faces at least.

    Parameters
    ----------
    names : sequence of str
        Paths.
    labels : sequence of int
    share : float
        Above 0, below 1.

    Returns
    -------
    set of int
        Indices.
    """
    wanted = {
        label: max(round(count * share), int(count > 1)) for label, count in Counter(labels).items()
    }
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    persons = [person(name) for name in names]
    several = len(set(persons)) > 2
    for index, name in enumerate(names):
        groups[(several and persons[index]) or (name,)].append(index)
    held: set[int] = set()
    keys = {
        key: _key(key if isinstance(key, str) else names[group[0]]) for key, group in groups.items()
    }
    for key in sorted(groups, key=keys.__getitem__):
        group = groups[key]
        gain = sum(
            min(count, wanted[label])
            for label, count in Counter(labels[index] for index in group).items()
        )
        if 2 * gain > len(group):
            held.update(group)
            for index in group:
                wanted[labels[index]] = max(wanted[labels[index]] - 1, 0)
    if not held and several and any(wanted.values()):
        # Each of a few persons has more faces than are wanted, and with none nothing can be scored.
        fewest = min(groups, key=lambda key: (len(groups[key]), keys[key]))
        held.update(groups[fewest])
    return held


def person(path: str) -> str | None:
    """Whom a file shows, where its name tells as those of CK+, JAFFE, KDEF and LFW do."""
    name = PurePosixPath(path).name
    found = (pattern.match(name) for pattern in _PERSONS)
    return next((match[1] for match in found if match), None)


def _key(path: str) -> tuple[bytes, str]:
    return hashlib.sha256(PurePosixPath(path).name.encode("utf-8", "replace")).digest(), path
