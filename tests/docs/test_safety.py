"""Each promise of docs/explanation/safety.md names a test that exists."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

ROWS = [
    line
    for line in (ROOT / "docs/explanation/safety.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| What |")
]


@pytest.mark.parametrize("row", ROWS)
def test_a_promise_names_tests_that_exist(row: str):
    found = re.findall(r"`((?:unit|contract|integration|acceptance|fuzz)/[\w/]+\.py)(?:::(\w+))?`", row.split("|")[2])
    assert found, "it names no test"
    for file, name in found:
        text = (ROOT / "tests" / file).read_text()
        assert not name or re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), f"{file} has no {name}"


def test_there_are_promises():
    assert len(ROWS) > 25
