"""Other processors, emulated: QEMU's user mode, and a root of Debian's arm64 packages.

Nothing is installed: packages are unpacked into ``build/machines``, where the next run finds them.
"""

import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.floors import requirements

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "build" / "machines"
ANSWER = Path(__file__).with_name("answer.py")
# ONNX Runtime 1.32.0 ends in a segmentation fault under QEMU 7.2, the one of Debian 12.
ARM_ONNXRUNTIME = "onnxruntime==1.24.1"
ARM_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_DEVICE_ONLY = ("numpy", "pillow", "platformdirs", "pydantic")
_MANYLINUX = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
# What was set for the processor here is not for another: OPENBLAS_CORETYPE=Haswell ends a Nehalem.
_ENVIRONMENT = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}

_making = threading.Lock()


class UnavailableError(Exception):
    """Why a machine cannot be emulated here."""


@dataclass(frozen=True)
class Machine:
    """A processor that QEMU knows."""

    architecture: str
    """As in the emulator's name, ``qemu-ARCHITECTURE``."""
    cpu: str
    instructions: str
    """What its INT8 convolutions are made of."""

    def __str__(self) -> str:
        return f"{self.architecture}-{self.cpu}"


MACHINES = (
    Machine("x86_64", "Nehalem", "SSE4.2, no AVX"),
    Machine("x86_64", "Haswell", "AVX2, no VNNI"),
    Machine("x86_64", "Skylake-Client", "AVX2, no VNNI"),
    Machine("aarch64", "cortex-a72", "NEON, no dot product"),
    Machine("aarch64", "max", "NEON, dot product, I8MM"),
)


def answer(
    machine: Machine, precision: str, faces: np.ndarray, work: Path
) -> tuple[np.ndarray, float]:
    """Classify faces with the carried model on an emulated machine.

    Parameters
    ----------
    machine : Machine
    precision : str
        Of the carried artifact.
    faces : uint8 array, shape (N, 48, 48)
    work : Path
        Folder for what goes in and comes out.

    Returns
    -------
    probabilities : float32 array, shape (N, 7)
    seconds : float
        For one face, under the emulator.

    Raises
    ------
    UnavailableError
        Debian's packages or the wheels cannot be had here.
    """
    name = f"{machine}-{precision}"
    given, found = work / f"{name}-faces.npz", work / f"{name}.npz"
    np.savez(given, faces=faces)
    command = [*_python(machine), str(ANSWER), precision, str(given), str(found)]
    ended = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{name} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    with np.load(found) as result:
        return result["probabilities"], float(result["seconds"])


def _python(machine: Machine) -> list[str]:
    """The command that starts Python with fer_edge on ``machine``."""
    emulator = [_emulator(machine.architecture), "-cpu", machine.cpu]
    if machine.architecture == "x86_64":
        if platform.machine() != "x86_64":
            raise UnavailableError("this Python is not for x86-64, which would be emulated")
        return [*emulator, "-E", f"PYTHONPATH={REPOSITORY}", sys.executable]
    root = _kept("arm64", lambda folder: _unpack(folder, "arm64", *ARM_PACKAGES))
    python = next((root / "usr/bin").glob("python3.*[0-9]"))
    version = python.name.removeprefix("python")
    wheels = _kept(f"{ARM_ONNXRUNTIME}-{version}", lambda folder: _wheels(folder, version))
    environment = {"PYTHONHOME": root / "usr", "PYTHONPATH": f"{REPOSITORY}:{wheels}"}
    settings = [part for item in environment.items() for part in ("-E", "{}={}".format(*item))]
    return [*emulator, "-L", str(root), *settings, str(python)]


def _emulator(architecture: str) -> str:
    if found := shutil.which(f"qemu-{architecture}"):
        return found
    native = _output("dpkg", "--print-architecture").strip()
    root = _kept("qemu", lambda folder: _unpack(folder, native, "qemu-user-static"))
    return str(root / "usr/bin" / f"qemu-{architecture}-static")


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """Folder ``name``, made by ``make`` the first time, as a whole or not at all."""
    folder = FOLDER / name
    with _making:
        if not folder.is_dir():
            part = folder.with_name(f".{name}.{os.getpid()}")
            part.mkdir(parents=True)
            try:
                make(part)
                part.replace(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return folder


def _unpack(folder: Path, architecture: str, *packages: str) -> None:
    """Unpack Debian packages and what they depend on, with lists of packages of our own."""
    apt = folder / "apt"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True)
    (apt / "status").touch()
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::Cache": apt / "cache",
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "status",
    }
    get = [
        "apt-get",
        "-qq",
        *(part for item in options.items() for part in ("-o", "{}={}".format(*item))),
    ]
    _output(*get, "update")
    _output(*get, "--no-install-recommends", "--download-only", "--yes", "install", *packages)
    for package in (apt / "cache/archives").glob("*.deb"):
        _output("dpkg", "-x", str(package), str(folder))
    shutil.rmtree(apt)


def _wheels(folder: Path, version: str) -> None:
    wanted = [line for line in requirements() if line.split(">=")[0] in _DEVICE_ONLY]
    platforms = [f"--platform={tag}_aarch64" for tag in _MANYLINUX]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *platforms]
    _output(*pip, f"--python-version={version}", f"--target={folder}", ARM_ONNXRUNTIME, *wanted)


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise UnavailableError(f"needs {command[0]}, which is not here") from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UnavailableError(f"{' '.join(command[-3:])}: {reason}") from None
