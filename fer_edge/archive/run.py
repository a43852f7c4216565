"""An archive from its files to its last row: plans, hands out, tries again, sums up."""

import contextlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fer_edge.archive.listing import Listing
from fer_edge.archive.parts import parts_there, read_part, write_errors, write_part
from fer_edge.archive.plan import Plan
from fer_edge.archive.store import Store, open_store
from fer_edge.archive.tasks import (
    Collected,
    Crashed,
    Cut,
    CutUp,
    ErrorRow,
    Executor,
    Failed,
    Outcome,
    Photos,
    Piece,
    Settings,
    Tally,
    Task,
    Written,
)
from fer_edge.archive.work import unread_photo, unread_piece
from fer_edge.errors import DataError, UsageError
from fer_edge.runtime.capture.video_spans import WHOLE

FACTS = "archive.json"
ATTEMPTS = 3
"""That a task has; a process may have been killed for what another did, such as take memory."""

Progress = Callable[[float], object]


@dataclass
class Summary:
    """What an archive holds after a run."""

    files: int
    """Photos and videos that are listed now."""
    skipped: Mapping[str, int]
    """What the folders have beside them, per ending."""
    changed: list[str]
    """Files that were written to since they were analyzed; their rows are of before."""
    done_before: int
    """Parts that earlier runs had written."""
    done_now: int
    workers: int
    executor: str
    crashes: int
    """Workers that ended in the middle of a task."""
    seconds_taken: float
    tally: Tally
    """Of all parts."""
    errors: list[ErrorRow]
    """Of all parts."""

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        tally = self.tally
        return {
            "files": self.files,
            "photos": tally.photos,
            "pieces": tally.pieces,
            "frames": tally.frames,
            "seconds": round(tally.seconds, 3),
            "faces": tally.faces,
            "emotions": dict(tally.emotions.most_common()),
            "errors": len(self.errors),
            "skipped": dict(self.skipped),
            "changed": self.changed,
            "parts": {"before": self.done_before, "now": self.done_now},
            "executor": self.executor,
            "workers": self.workers,
            "crashes": self.crashes,
            "seconds_taken": round(self.seconds_taken, 3),
        }


def analyze_archive(
    listing: Listing,
    settings: Settings,
    executor: Executor,
    classes: tuple[str, ...],
    progress: Progress = lambda _: None,
) -> Summary:
    """Find and classify the faces in all files that are not done yet.

    Each row is there at most once, whatever is killed when: the parts into which photos go are
    written down first, a part's name follows from what is in it, and it appears whole, with its
    rows and with what could not be read, by one rename. To do a part twice is to put the same file
    in the same place.

    Parameters
    ----------
    listing : Listing
        What :func:`fer_edge.archive.list_files` gave. A file that is not listed any more keeps its
        rows.
    settings : Settings
        As those of all earlier runs into ``settings.out``, by ``settings.facts``.
    executor : Executor
        Not started.
    classes : tuple of str
        The labels of the model.
    progress : callable, optional
        Told how much is done, 0..1, by the bytes of the files.

    Raises
    ------
    UsageError
        ``settings.out`` holds something else, or what other settings made, or is written by
        another run.
    StorageError
        It cannot be written; what was done stays.
    FerEdgeError
        A worker cannot work: no model, no engine; what was done stays.
    """
    store = open_store(settings.out)
    _check_facts(settings)
    with store.alone(), contextlib.closing(executor):
        began = time.monotonic()
        store.write(FACTS, json.dumps(settings.facts, indent=1).encode() + b"\n")
        executor.start(settings)
        plan = Plan.load(store)
        plan.extend(listing.files, executor.slots).save(store)
        run = _Run(store, settings, executor, classes, plan, progress)
        before = set(run.done)
        run.finish()
        tally = Tally()
        errors: list[ErrorRow] = []
        for part in run.done.values():
            tally.add(part.tally)
            errors += part.errors
        write_errors(store, errors, settings.facts)
        return Summary(
            files=len(listing.files),
            skipped=listing.skipped,
            changed=plan.changed(listing.files),
            done_before=len(before),
            done_now=len(run.done) - len(before),
            workers=executor.slots,
            executor=executor.name,
            crashes=run.crashes,
            seconds_taken=time.monotonic() - began,
            tally=tally,
            errors=errors,
        )


class _Run:
    """Tasks that wait, that are under way, and what has come of them."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        executor: Executor,
        classes: tuple[str, ...],
        plan: Plan,
        progress: Progress,
    ) -> None:
        self._store = store
        self._settings = settings
        self._executor = executor
        self._classes = classes
        self._plan = plan
        self._progress = progress
        self.crashes = 0
        self._crashes_of: Counter[Task] = Counter()
        self._shared: dict[str, _Shared] = {}
        self.done: dict[str, Written] = {}
        """Parts that are in their place."""
        for part in parts_there(store):
            # What cannot be read is made again.
            if (written := read_part(store, part)) is not None:
                self.done[part] = written
        self._waiting: deque[Task] = deque(plan.open_tasks(self.done))
        self._under_way = 0
        self._bytes = sum(max(size, 1) for size, _ in plan.seen.values())
        self._bytes_left = float(sum(map(self._weight, self._waiting)))

    def finish(self) -> None:
        """Do all that is left; raises what a worker says that concerns all tasks."""
        self._tell()
        while self._waiting or self._under_way:
            while self._waiting and self._executor.room:
                self._executor.submit(self._waiting.popleft())
                self._under_way += 1
            for task, outcome in self._executor.wait():
                self._under_way -= 1
                self._take(task, outcome)
            self._tell()

    def _take(self, task: Task, outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            raise outcome.error()
        if isinstance(outcome, Crashed):
            self._try_again(task, outcome)
        elif isinstance(outcome, Written):
            self._count(task, outcome)
        elif isinstance(outcome, CutUp):
            assert isinstance(task, Cut)
            self._cut_up(task, outcome)
        else:
            assert isinstance(task, Photos)
            self._gather(task, outcome)

    def _cut_up(self, task: Cut, found: CutUp) -> None:
        pieces = [
            Piece(task.file, span, number, len(found.spans))
            for number, span in enumerate(found.spans)
        ]
        if found.error is not None:
            (piece,) = pieces
            self._write(piece, piece.part, unread_piece(piece, found.error))
            return
        # Pieces that an earlier run has done are off the count with the video.
        self._bytes_left -= self._weight(task)
        pieces = [piece for piece in pieces if piece.part not in self.done]
        self._bytes_left += sum(map(self._weight, pieces))
        self._waiting.extendleft(reversed(pieces))

    def _try_again(self, task: Task, crashed: Crashed) -> None:
        """Again as it is, then photo by photo, until it is clear which one ends processes."""
        self.crashes += 1
        self._crashes_of[task] += 1
        if self._crashes_of[task] < ATTEMPTS:
            self._waiting.appendleft(task)
            return
        error = (
            f"The process that read it ended, {ATTEMPTS} times, the last by {crashed.how}. "
            "Is it damaged, or was there too little memory?"
        )
        if isinstance(task, Cut):
            self._cut_up(task, CutUp((WHOLE,), error))
        elif isinstance(task, Piece):
            self._write(task, task.part, unread_piece(task, error))
        elif len(task.files) > 1:
            middle = len(task.files) // 2
            halves = [replace(task, files=task.files[:middle], whole=False)]
            halves += [replace(task, files=task.files[middle:], whole=False)]
            if task.part not in self._shared:
                self._shared[task.part] = _Shared(task.files)
            self._waiting.extendleft(reversed(halves))
        else:
            found = unread_photo(task.files[0], error)
            if task.whole:
                self._write(task, task.part, found)
            else:
                self._gather(task, found)

    def _gather(self, task: Photos, found: Collected) -> None:
        """Keep some photos' rows until those of the whole part are there."""
        shared = self._shared[task.part]
        shared.found[task.files] = found
        if sum(map(len, shared.found)) == len(shared.files):
            del self._shared[task.part]
            whole = Collected([], [], Tally())
            for files in sorted(shared.found, key=lambda files: shared.files.index(files[0])):
                whole.add(shared.found[files])
            self._write(Photos(task.part, shared.files), task.part, whole)

    def _write(self, task: Task, part: str, found: Collected) -> None:
        written = write_part(self._store, part, found, self._settings.facts, self._classes)
        self._count(task, written)

    def _count(self, task: Task, written: Written) -> None:
        if written.part not in self.done:
            self.done[written.part] = written
            self._bytes_left -= self._weight(task)

    def _weight(self, task: Task) -> float:
        """Bytes, at least one for each file."""
        seen = self._plan.seen
        if isinstance(task, Photos):
            return sum(max(seen[file][0], 1) for file in task.files)
        whole = max(seen[task.file][0], 1)
        return whole if isinstance(task, Cut) else whole / task.of

    def _tell(self) -> None:
        self._progress(1.0 - max(self._bytes_left, 0.0) / max(self._bytes, 1))


@dataclass
class _Shared:
    """A part whose photos several tasks look at, after it has ended a process too often."""

    files: tuple[str, ...]
    found: dict[tuple[str, ...], Collected] = field(default_factory=dict)


def recorded_facts(out: str) -> dict[str, object] | None:
    """The ``facts`` of the settings that an archive was begun with; None where there is none.

    Raises
    ------
    UsageError
        There is something else.
    DataError
        They cannot be read.
    StorageError
        The place cannot.
    """
    store = open_store(out)
    data = store.read(FACTS)
    if data is None:
        if store.names(""):
            raise UsageError(
                f"{out} has files in it, and is no archive.", hint="Name a new folder."
            )
        return None
    try:
        facts = json.loads(data)
    except ValueError as error:
        raise DataError(f"{out}/{FACTS} is damaged.", hint="Name a new folder.") from error
    if not isinstance(facts, dict):
        raise DataError(f"{out}/{FACTS} is damaged.", hint="Name a new folder.")
    return facts


def _check_facts(settings: Settings) -> None:
    """Raise UsageError where rows of another kind, or other things, are in the place."""
    facts = recorded_facts(settings.out)
    if facts is None:
        return
    now = json.loads(json.dumps(settings.facts))
    differ = sorted(key for key in {*facts, *now} if facts.get(key) != now.get(key))
    if differ:
        told = ", ".join(f"{key} {facts.get(key)}, now {now.get(key)}" for key in differ)
        raise UsageError(
            f"{settings.out} was made otherwise: {told}.",
            hint="Go on with the same options, or name a new folder.",
        )
