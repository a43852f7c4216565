"""All peers timed in turn, on one core that they share."""

from pathlib import Path
from statistics import median
from typing import Any

from bench.peers.answers import Questions, home_of
from bench.peers.asking import Peer, PeerFailedError, start_up
from bench.peers.declared import Entry

TURNS = 6
FACES_PER_FRAME = 10
"""Times as many faces as frames are timed: one takes about a tenth as long."""
WARM_UP = 3


def time_all(
    rows: list[Entry],
    commands: dict[str, list[str]],
    questions: Questions,
    work: Path,
    core: int,
    timed: int,
) -> dict[Entry, dict[str, Any]]:
    """Start-up, memory and speed of each; ``failed`` where one ends.

    Returns
    -------
    dict
        ``per_second``: frames or faces in all turns by the time that they took; ``p50_ms``;
        ``slowest_turn`` and ``fastest_turn``, per second; ``start_s``: from the start of the
        process to its first answer; ``peak_mib``.
    """
    found: dict[Entry, dict[str, Any]] = {}
    peers: dict[Entry, Peer] = {}
    spent: dict[Entry, list[list[float]]] = {}
    try:
        for entry in rows:
            first = [questions.faces] if entry.task == "classify" else questions.frames[:1]
            call = (commands[entry.adapter.name], entry.task, entry.variant)
            try:
                peers[entry], seconds = start_up(*call, home_of(entry, work), core, first)
                _ask(peers[entry], entry, questions, 0, WARM_UP)
            except PeerFailedError as error:
                found[entry] = {"failed": str(error)}
                continue
            found[entry] = {"start_s": round(seconds, 2)}
            spent[entry] = []
        for turn in range(TURNS):
            for entry, turns in spent.items():
                count = max(1, timed // TURNS)
                count *= FACES_PER_FRAME if entry.task == "classify" else 1
                turns.append(_ask(peers[entry], entry, questions, turn * count, count))
        for entry, turns in spent.items():
            each = [one for turn in turns for one in turn]
            rates = [1e3 * len(turn) / sum(turn) for turn in turns]
            found[entry] |= {
                "per_second": round(1e3 * len(each) / sum(each), 2),
                "p50_ms": round(median(each), 3),
                "slowest_turn": round(min(rates), 2),
                "fastest_turn": round(max(rates), 2),
                "peak_mib": round(peers[entry].peak_mib()),
            }
    finally:
        for peer in peers.values():
            peer.close()
    return found


def _ask(peer: Peer, entry: Entry, questions: Questions, begin: int, count: int) -> list[float]:
    """Milliseconds of so many frames or faces from one on; where they end, from the first on."""
    if entry.task == "classify":
        begin %= len(questions.labels)
        end = min(begin + count, len(questions.labels))
        ms: list[float] = peer.answers([questions.faces], begin, end)["ms"]
        return ms
    frames = [questions.frames[i % len(questions.frames)] for i in range(begin, begin + count)]
    spent: list[float] = peer.answers(frames)["ms"]
    return spent
