"""The description that programs read, and what comes of taking it at its word."""

import subprocess
import sys
from pathlib import Path

import pytest

from .services import Serve

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_the_document_tells_of_all_that_there_is(serve: Serve) -> None:
    told = serve("one", "two").client().get("/openapi.json").json
    assert told["openapi"].startswith("3.1")
    paths = told["paths"]
    assert {"/v2/models/{model}/infer", "/faces", "/metrics", "/v2/health/live"} <= set(paths)
    infer = paths["/v2/models/{model}/infer"]["post"]
    assert {"200", "400", "403", "404", "413", "429", "504"} <= set(infer["responses"])
    assert infer["parameters"][0]["schema"]["enum"] == ["one", "two"]
    assert "security" not in told


def test_a_token_is_part_of_it(serve: Serve) -> None:
    client = serve(token="secret").client()
    told = client.get("/openapi.json", Authorization="Bearer secret").json
    assert told["security"] == [{"bearer": []}, {"query": []}]
    assert "401" in told["paths"]["/v2"]["get"]["responses"]
    assert told["paths"]["/v2/health/live"]["get"]["security"] == []


@pytest.mark.parametrize("token", [None, "secret"])
def test_schemathesis_finds_no_fault(serve: Serve, token: str | None, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="needs schemathesis")
    served = serve(token=token)
    url = served.url.partition("?")[0].rstrip("/")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
        *(f"{url}/openapi.json", "--max-examples", "15", "--seed", "1", "--no-color"),
        *(("--header", f"Authorization: Bearer {token}") if token else ()),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert served.service.models["tiny"].waiting == 0
