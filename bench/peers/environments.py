"""An environment of its own for each adapter, with the versions of a lock file."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.declared import Adapter
from fer_edge.version import __version__

ROOT = Path(__file__).parents[2]
LOCKS = Path(__file__).parent / "locks"
HERE = "{root}"
"""Stands for this repository in a dependency."""


class EnvironmentFailedError(Exception):
    """An adapter's packages do not install: what pip or npm said."""


def lock_of(adapter: Adapter) -> Path:
    return LOCKS / f"{adapter.name}.{'json' if adapter.is_node else 'txt'}"


def make(adapter: Adapter, work: Path) -> Path | None:
    """The folder of the adapter's environment, made where it is not there; None: this environment.

    Without a lock file, what pip or npm choose is installed and written to one: commit it.

    Raises
    ------
    EnvironmentFailedError
        Packages do not install.
    """
    if adapter.dependencies is None:
        return None
    folder, made = work / adapter.name, work / adapter.name / ".made"
    lock = lock_of(adapter)
    if not made.is_file() or made.read_text() != _digest(adapter):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (_make_node if adapter.is_node else _make_python)(adapter, folder, lock)
        made.write_text(_digest(adapter))
    if adapter.is_node:
        # Modules are looked for beside the file.
        for path in (adapter.path, adapter.path.parent / "protocol.mjs"):
            shutil.copy(path, folder)
    elif _local(adapter):
        # The tree may have changed.
        _pip(folder, ["--no-deps", "--force-reinstall", *_local(adapter)])
    return folder


def command(adapter: Adapter, folder: Path | None) -> list[str]:
    if folder is None:
        return [sys.executable, str(adapter.path)]
    if adapter.is_node:
        return ["node", str(folder / adapter.path.name)]
    return [str(folder / "bin" / "python"), str(adapter.path)]


def size_mb(folder: Path | None) -> float | None:
    """Of all files of an environment, hard links once, in MB of a million bytes."""
    if folder is None:
        return None
    files = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
    return sum({(one.st_dev, one.st_ino): one.st_size for one in files}.values()) / 1e6


def version(adapter: Adapter) -> str | None:
    """Of the adapter's package, as its lock file has it."""
    lock = lock_of(adapter)
    if _local(adapter):
        return __version__
    if not lock.is_file():
        return None
    if adapter.is_node:
        packages = json.loads(lock.read_text())["packages"]
        return str(packages[f"node_modules/{adapter.package}"]["version"])
    for line in lock.read_text().splitlines():
        name, _, number = line.partition("==")
        if name.lower() == adapter.package.lower():
            return number
    return None


def _make_python(adapter: Adapter, folder: Path, lock: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    if lock.is_file():
        _pip(folder, ["--no-deps", "--requirement", str(lock)])
        return
    _pip(folder, [one.replace(HERE, str(ROOT)) for one in adapter.dependencies or ()])
    frozen = subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "freeze", "--all"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    kept = [line for line in frozen.splitlines() if "file://" not in line]
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("\n".join(kept) + "\n")


def _make_node(adapter: Adapter, folder: Path, lock: Path) -> None:
    wanted = dict(one.rsplit("@", 1) for one in adapter.dependencies or ())
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": wanted}))
    if lock.is_file():
        shutil.copy(lock, folder / "package-lock.json")
    what = ["ci"] if lock.is_file() else ["install"]
    if shutil.which("npm") is None:
        raise EnvironmentFailedError("npm is not installed")
    # Scripts of packages would fetch binaries from elsewhere.
    _run(["npm", *what, "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder)
    lock.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "package-lock.json", lock)


def _pip(folder: Path, what: list[str]) -> None:
    python = str(folder / "bin" / "python")
    _run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *what])


def _run(call: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(call, cwd=cwd, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        raise EnvironmentFailedError(said[0] if said else f"{call[0]} ended with {done.returncode}")


def _local(adapter: Adapter) -> list[str]:
    """What is of this repository, without extras: what these need is locked."""
    local = [one for one in adapter.dependencies or () if HERE in one]
    return [one.replace(HERE, str(ROOT)).partition("[")[0] for one in local]


def _digest(adapter: Adapter) -> str:
    lock = lock_of(adapter)
    text = lock.read_text() if lock.is_file() else ""
    told = [sys.version, *(adapter.dependencies or ()), text]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
