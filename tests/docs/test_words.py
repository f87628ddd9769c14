"""The field's words stand everywhere in the place of our own, and no comment cites a rule that this repository does not define."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

FOLDERS = ("monitor", "workers", "alert_rules", "tests", "docs", "examples", "benchmarks")
KINDS = {".py", ".md", ".lua", ".yml"}
WORDS = {
    r"signs?[ _]of[ _]life": "heartbeat",
    r"under[ _]way": "in flight",
    r"look(?:s|ed)?[ _]again": "re-evaluate, read again",
    r"mend(?:s|ed)?": "fix",
    r"remed(?:y|ies)": "hint",
    r"ill": "unhealthy",
    r"doubled": "duplicated",
}
_RULE = re.compile(r"(?:#|--|\"\"\").*\b(?!S\d{3}\b)[A-Z]\d{1,2}\b(?!\w)")
_LINTER = re.compile(r"# noqa: [A-Z]+\d+(?:, [A-Z]+\d+)*")


def lines() -> Iterator[tuple[Path, int, str]]:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in KINDS]
    for path in (*files, ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        if path != Path(__file__):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                yield path, number, line


@pytest.mark.parametrize("word", WORDS)
def test_a_private_word_gives_way_to_the_fields(word: str) -> None:
    wanted = re.compile(rf"(?<![A-Za-z]){word}(?![A-Za-z])", re.IGNORECASE)
    found = [f"{path.relative_to(ROOT)}:{number}" for path, number, line in lines() if wanted.search(line)]
    assert found == [], f"write: {WORDS[word]}"


def test_no_comment_cites_a_rule_by_a_number() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, number, line in lines()
        if path.suffix in {".py", ".lua"} and _RULE.search(_LINTER.sub("", line))
    ]
    assert found == []
