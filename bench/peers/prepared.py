"""What the commands of this folder share: their options, and adapters made ready to be asked."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.declared import Adapter, Entry, entries, read_adapters
from bench.peers.environments import (
    ROOT,
    EnvironmentFailedError,
    command,
    make,
    size_mb,
    version,
)
from bench.recording import RESULTS

ADAPTERS = Path(__file__).parent / "adapters"


def options(description: str | None, out: str) -> argparse.ArgumentParser:
    """The options of all; ``out`` is the default name of the result."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    parser.add_argument("--photos", type=Path, help="zip of photos with faces")
    parser.add_argument("--out", type=Path, default=RESULTS / out, help="result")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "peers", help="environments")
    parser.add_argument("--adapters", type=Path, default=ADAPTERS, help="folder of adapters")
    parser.add_argument("--only", nargs="+", help="names of adapters")
    parser.add_argument("--faces", type=int, help="so many of val only, at random")
    return parser


@dataclass(frozen=True)
class Prepared:
    """Adapters with their environments."""

    everything: list[Entry]
    commands: dict[str, list[str]]
    """By the adapter's name, like what follows."""
    facts: dict[str, dict[str, Any]]
    """Version, licence and size of the package."""
    failed: dict[str, str]
    """Why packages do not install."""

    @classmethod
    def make(cls, folder: Path, only: list[str] | None, work: Path) -> "Prepared":
        work.mkdir(parents=True, exist_ok=True)
        adapters = read_adapters(folder, only)
        made = cls(entries(adapters), {}, {}, {})
        for adapter in adapters:
            print(f"{adapter.name}: environment", flush=True)
            made._add(adapter, work / "environments")
        return made

    @property
    def rows(self) -> list[Entry]:
        """Of the packages that install."""
        return [entry for entry in self.everything if entry.adapter.name not in self.failed]

    def _add(self, adapter: Adapter, work: Path) -> None:
        folder = None
        try:
            folder = make(adapter, work)
        except EnvironmentFailedError as error:
            self.failed[adapter.name] = f"does not install: {error}"
        self.commands[adapter.name] = command(adapter, folder)
        size = size_mb(folder)
        self.facts[adapter.name] = {
            "version": version(adapter),
            "licence": adapter.licence,
            "install_mb": size and round(size),
        }


def free_cores() -> list[int]:
    """Those that this process may use."""
    return sorted(os.sched_getaffinity(0))
