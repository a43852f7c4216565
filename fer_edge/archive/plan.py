"""Which photos go together, written down before any is looked at, so that it stays so.

A part's name follows from the photos in it. As long as a run that was killed and the one after it
group photos alike, a worker that outlives its run can at most write a part again, never the same
rows into another.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fer_edge.archive.listing import Found
from fer_edge.archive.store import Store
from fer_edge.archive.tasks import Cut, Photos, photos_part, video_part
from fer_edge.errors import DataError

FOLDER = "plan"
MOST_PHOTOS, FEWEST_PHOTOS = 500, 20
"""In a part."""
_PARTS_PER_SLOT = 4
"""So that no worker waits long for the last one to end."""
_VIDEO = re.compile(r"(video-[0-9a-f]+)-(\d+)-of-(\d+)")


@dataclass
class Plan:
    """All files that were ever listed for an archive."""

    photos: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Parts and their photos."""
    videos: list[str] = field(default_factory=list)
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Size and time of last change of every file when it was first listed."""

    def changed(self, files: Iterable[Found]) -> list[str]:
        """Files that are not what they were when they were first listed."""
        return [
            one.path
            for one in files
            if one.path in self.seen and self.seen[one.path] != (one.size, one.changed)
        ]

    def extend(self, files: Iterable[Found], slots: int) -> "Plan":
        """Add files that are new; returns these alone."""
        new = [one for one in files if one.path not in self.seen]
        photos = [one.path for one in new if one.is_photo]
        videos = [one.path for one in new if not one.is_photo]
        size = min(max(len(photos) // (_PARTS_PER_SLOT * slots), FEWEST_PHOTOS), MOST_PHOTOS)
        groups = [tuple(photos[at : at + size]) for at in range(0, len(photos), size)]
        added = Plan(
            {photos_part(group): group for group in groups},
            videos,
            {one.path: (one.size, one.changed) for one in new},
        )
        self._take(added)
        return added

    def _take(self, other: "Plan") -> None:
        self.photos.update(other.photos)
        self.videos += other.videos
        self.seen.update(other.seen)

    def open_tasks(self, done: Iterable[str]) -> Iterator[Photos | Cut]:
        """What is left to do, videos first: their spans are not known yet."""
        parts = set(done)
        ready = whole_videos(parts)
        yield from (Cut(file) for file in self.videos if video_part(file) not in ready)
        for part, files in self.photos.items():
            if part not in parts:
                yield Photos(part, files)

    def save(self, store: Store) -> None:
        """Write it beside what was planned before; nothing where it is empty."""
        if not self.seen:
            return
        lines: list[dict[str, Any]] = [
            {"part": part, "files": [[file, *self.seen[file]] for file in files]}
            for part, files in self.photos.items()
        ]
        lines += [{"video": [file, *self.seen[file]]} for file in self.videos]
        number = len(store.names(FOLDER))
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        store.write(f"{FOLDER}/{number:06d}.jsonl", text.encode())

    @classmethod
    def load(cls, store: Store) -> "Plan":
        """All that was planned.

        Raises
        ------
        DataError
            A file of it is damaged.
        StorageError
            It cannot be read.
        """
        plan = cls()
        for name in sorted(store.names(FOLDER)):
            data = store.read(f"{FOLDER}/{name}") or b""
            try:
                for line in data.splitlines():
                    plan._take(_planned(json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{FOLDER}/{name} of the archive is damaged: {error}.",
                    hint="Begin again in another folder.",
                ) from error
        return plan


def _planned(line: dict[str, Any]) -> Plan:
    if "video" in line:
        file, size, changed = line["video"]
        return Plan({}, [str(file)], {str(file): (_int(size), _int(changed))})
    facts = {str(file): (_int(size), _int(changed)) for file, size, changed in line["files"]}
    return Plan({str(line["part"]): tuple(facts)}, [], facts)


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value


def whole_videos(parts: Iterable[str]) -> set[str]:
    """Videos, by the beginning of their parts' names, all of whose pieces are there."""
    there: dict[str, int] = {}
    wanted: dict[str, int] = {}
    for part in parts:
        if match := _VIDEO.fullmatch(part):
            there[match[1]] = there.get(match[1], 0) + 1
            wanted[match[1]] = int(match[3])
    return {video for video, count in there.items() if count == wanted[video]}
