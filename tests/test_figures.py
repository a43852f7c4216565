"""Every figure of the READMEs and of the site is that of a recorded run."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
MADE = (ROOT / "docs" / ".gitignore").read_text().split()
PAGES = [
    ROOT / "README.md",
    ROOT / "bench" / "README.md",
    *(
        page
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if str(page.relative_to(ROOT / "docs")) not in MADE
    ),
]


pytestmark = pytest.mark.skipif(
    not (ROOT / "bench" / "results").is_dir(), reason="the sdist has no records"
)


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["figures"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_figure_is_recorded(page: Path, figures: ModuleType) -> None:
    assert figures.problems(page) == []


RECORD = {
    "precisions": [
        {"precision": "fp32", "accuracy": 0.69908, "latency": [{"batch": 64, "rate": 1277.13}]},
        {"precision": "int8", "accuracy": 0.7008, "latency": [{"batch": 64, "rate": 3766.2}]},
    ]
}
SOURCE = """
<!-- figures of record.json:
69.91 = 100 * precisions.fp32.accuracy
3,766 = precisions.int8.latency.64.rate
2.9 = precisions.int8.latency.64.rate / precisions.fp32.latency.64.rate
-->
"""
TEXT = """
fp32 has 69.91 %; int8 3,766 faces/s, 2.9 times as many.
"""


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (SOURCE + TEXT, []),
        (TEXT, ["69.91 has no record", "3,766 has no record", "2.9 has no record"]),
        (SOURCE + "\nBefore." + TEXT.replace("69.91", "69.92"), ["69.91 is said", "69.92 has no"]),
        (
            SOURCE.replace("69.91", "69.90") + TEXT,
            ["69.90 is 69.908", "69.90 is said", "69.91 has"],
        ),
        (SOURCE.replace("2.9 =", "3.0 =") + TEXT.replace("2.9", "3.0"), ["3.0 is 2.94896"]),
        (SOURCE + TEXT.replace("many.", "many, in 5 ms."), ["5 has no record"]),
        ("<!-- figures: 5 not measured, a limit -->\nIt waits 5 s, or 6 s.", ["6 has no record"]),
        ("<!-- figures: 5 -->\nIt waits 5 s.", ["neither a file nor a reason", "5 has no record"]),
        ("Takes `--size 5 MB`, Python 3.10, 10.3 and 4 cameras.", []),
        ("```\nfer-edge bench --seconds 5 s\n```", []),
        ("```\n$ fer-edge bench\nval 69.9 %\n```", ["69.9 has no record"]),
        ("<!-- figures of record.json: all -->\n```\n$ x\nfp32 69.91 1,277\n```", []),
        (
            "<!-- figures of record.json: all -->\n```\n$ x\nfp32 69.91 1,278\n```",
            ["1,278 is nowhere in record.json"],
        ),
        (
            "<!-- figures of record.json: all * 1000 -->\n"
            "<!-- figures: 2.9 not recorded, a quotient -->\n```\n$ x\n1,277,130 2.9 times\n```",
            [],
        ),
        ("<!-- figures: 7 not recorded, by hand -->\nIt takes `7 s`", []),
        ("<!-- figures: 7 not recorded, by hand -->\nIt takes long", ["7 is said not to be"]),
    ],
)
def test_what_is_not_recorded_is_named(
    text: str,
    wrong: list[str],
    figures: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    (tmp_path / "record.json").write_text(json.dumps(RECORD))
    page = tmp_path / "page.md"
    page.write_text(text)
    found = figures.problems(page)
    assert len(found) == len(wrong), found
    for one, start in zip(sorted(found), sorted(wrong), strict=True):
        assert one.startswith(start)
