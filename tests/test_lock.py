"""The lock file of CI fits what pyproject.toml declares."""

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)


def toml() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def wanted(extra: str, project: dict) -> list[Requirement]:
    """What an extra needs on CI's Python, through extras of this package, too."""
    found = []
    for text in project["optional-dependencies"][extra]:
        one = Requirement(text)
        if one.marker is not None and not one.marker.evaluate({"python_version": "3.11"}):
            continue
        if name(one.name) == "fer-edge":
            for inner in one.extras:
                found += wanted(inner, project)
        else:
            found.append(one)
    return found


def test_every_requirement_is_locked_in_a_version_that_fits() -> None:
    project = toml()
    text = (ROOT / "requirements-ci.txt").read_text()
    locked = {name(package): Version(version) for package, version in LINE.findall(text)}
    needs = [*map(Requirement, project["dependencies"]), *wanted("dev", project)]
    assert len(needs) > 30
    for need in needs:
        version = locked.get(name(need.name))
        assert version is not None, f"{need.name} is not locked: make lock"
        assert need.specifier.contains(version, prereleases=True), f"{need}: make lock"


def test_every_locked_version_has_its_hashes() -> None:
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements-ci.txt").read_text())
    packages = [block for block in blocks if LINE.match(block)]
    assert len(packages) > 100
    assert all("--hash=sha256:" in block for block in packages)
    assert "fer-edge==" not in "".join(packages)
