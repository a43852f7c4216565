"""Energy that a run takes, where the machine tells it."""

import contextlib
from pathlib import Path

RAPL = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules from entry to exit, of all processor packages (Intel's and AMD's RAPL counters).

    Linux lets only root read them unless the machine's owner opens them (CVE-2020-8694). Of a GPU
    and of boards nothing is told.
    """

    joules: float | None = None
    """After the block; None where nothing tells."""

    def __enter__(self) -> "EnergyMeter":
        self._before = _counters()
        return self

    def __exit__(self, *exc: object) -> None:
        after = _counters()
        if not self._before or after.keys() != self._before.keys():
            return
        spent = 0
        for zone, (value, largest) in after.items():
            # A counter begins again at 0 after its largest value.
            spent += (value - self._before[zone][0]) % (largest + 1)
        self.joules = spent / 1e6


def _counters() -> dict[str, tuple[int, int]]:
    """Microjoules so far, and the largest value, of each package."""
    found = {}
    for zone in sorted(RAPL.glob("intel-rapl:*")):
        # Zones within a package, such as its cores, are named intel-rapl:0:0.
        if zone.name.count(":") != 1:
            continue
        with contextlib.suppress(OSError, ValueError):
            # Beside the packages may be Intel's psys, the whole board with the packages in it.
            if not (zone / "name").read_text().startswith("package"):
                continue
            value = int((zone / "energy_uj").read_text())
            found[zone.name] = (value, int((zone / "max_energy_range_uj").read_text()))
    return found
