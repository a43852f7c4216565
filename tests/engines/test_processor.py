import os
from pathlib import Path

import pytest

from fer_edge.engines import ort, processor
from fer_edge.engines.processor import available_cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a machine with eight cores and no limits yet."""
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(processor, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(processor, "_OWN_GROUPS", tmp_path / "own")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        (None, {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
        # As the host sees a container's group, of which only the root is there.
        ("0::/../../kubepods/pod1\n", {"cpu.max": "300000 100000\n"}, 3),
        # A service, limited itself or with all of its slice.
        ("0::/a.slice/b.service\n", {"a.slice/b.service/cpu.max": "400000 100000\n"}, 4),
        ("0::/a.slice/b.service\n", {"a.slice/cpu.max": "500000 100000\n"}, 5),
        # Version 1, in a container and not.
        (
            "4:memory:/m\n3:cpu,cpuacct:/docker/1\n",
            {"cpu/cpu.cfs_quota_us": "600000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            6,
        ),
        (
            "3:cpu,cpuacct:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "100000\n", "cpu/a/cpu.cfs_period_us": "50000\n"},
            2,
        ),
        (
            "3:cpu,cpuacct:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        ("nonsense", {"cpu.max": "nonsense"}, 8),
    ],
)
def test_cores_are_those_that_control_groups_leave(
    groups: Path, own: str | None, files: dict[str, str], cores: int
) -> None:
    if own is not None:
        write(groups / "own", own)
    for name, text in files.items():
        write(groups / "cgroup" / name, text)
    assert available_cores() == cores
    # Without a limit ONNX Runtime counts the physical ones itself.
    assert ort.session_options(None).intra_op_num_threads == (0 if cores == 8 else cores)
