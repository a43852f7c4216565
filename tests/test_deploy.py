"""deploy/ speaks of options, extras and routes that there are."""

import re
from pathlib import Path
from typing import Any

import pytest

from fer_edge.contract import FER2013

ROOT = Path(__file__).parents[1]
CONTAINER = (ROOT / "deploy/Containerfile").read_text()


@pytest.fixture
def manifest() -> dict[str, Any]:
    """What is declared, by kind."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    text = (ROOT / "deploy/kubernetes.yaml").read_text()
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def options_of_serve() -> set[str]:
    import typer.main

    from fer_edge.cli.app import app

    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    return {name for parameter in command.params for name in parameter.opts}


def test_the_container_installs_extras_and_starts_a_command() -> None:
    (extras,) = re.findall(r"'\.\[(.*)\]'", CONTAINER)
    declared = (ROOT / "pyproject.toml").read_text()
    for extra in extras.split(","):
        assert f"\n{extra} = [" in declared
    for option in re.findall(r"--[a-z]+", CONTAINER.partition("CMD")[2]):
        assert option in options_of_serve()
    assert re.search(r"^USER [1-9]", CONTAINER, re.MULTILINE)


def test_the_manifest_asks_what_the_service_answers(manifest: dict[str, Any]) -> None:
    pytest.importorskip("prometheus_client", reason="needs pip install 'fer-edge[serve]'")
    from fer_edge.serving import Limits
    from fer_edge.serving.openapi import describe

    paths = describe({"a": FER2013}, photos=True, token=True, limits=Limits())["paths"]
    pod = manifest["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert paths[path]["get"]["security"] == []
    assert {one for one in container["args"] if one.startswith("--")} <= options_of_serve()
    (port,) = container["ports"]
    assert port["containerPort"] == manifest["Service"]["spec"]["ports"][0]["port"] == 8000


def test_what_was_accepted_has_time_to_be_answered(manifest: dict[str, Any]) -> None:
    pod = manifest["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    sleep = float(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    timeout = float(container["args"][container["args"].index("--timeout") + 1])
    assert pod["terminationGracePeriodSeconds"] > sleep + timeout + 5


def test_the_container_has_no_rights(manifest: dict[str, Any]) -> None:
    pod = manifest["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    (user,) = re.findall(r"^USER (\d+):", CONTAINER, re.MULTILINE)
    assert pod["securityContext"]["runAsUser"] == int(user)
