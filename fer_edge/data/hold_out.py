"""Faces held out of what has no splits of its own: stratified, and the same on every machine."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from pathlib import PurePosixPath

_PERSONS = (
    re.compile(r"(S\d{3})_\d{3}_\d{8}"),  # CK+
    re.compile(r"([A-Z]{2})\.(?:AN|DI|FE|HA|NE|SA|SU)\d"),  # JAFFE
    re.compile(r"[AB]([FM]\d{2})(?:AF|AN|DI|HA|NE|SA|SU)(?:S|HL|HR|FL|FR)\b"),  # KDEF
)


def choose_held_out(names: Sequence[str], labels: Sequence[int]) -> set[int]:
    """Choose a tenth of the faces of every label, at least one of two.

    The hash of a file's name decides, so that the choice depends neither on the order of files nor
    on where they lie, and hardly on what is added to them. Where names tell the person (CK+, JAFFE,
    KDEF), nobody of three or more is on both sides; the tenth is then approximate.

    Parameters
    ----------
    names : sequence of str
        Paths.
    labels : sequence of int

    Returns
    -------
    set of int
        Indices.
    """
    wanted = {
        label: max(round(count / 10), int(count > 1)) for label, count in Counter(labels).items()
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
    return held


def person(path: str) -> str | None:
    """Whom a file shows, where its name tells as CK+, JAFFE and KDEF do."""
    name = PurePosixPath(path).name
    found = (pattern.match(name) for pattern in _PERSONS)
    return next((match[1] for match in found if match), None)


def _key(path: str) -> tuple[bytes, str]:
    return hashlib.sha256(PurePosixPath(path).name.encode("utf-8", "replace")).digest(), path
