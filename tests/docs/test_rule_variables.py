"""The page of rule variables is what the table says."""

from __future__ import annotations

from pathlib import Path

from alert_rules.facts import render_reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rule-variables.md"


def test_the_page_is_rendered_from_the_table() -> None:
    assert PAGE.read_text() == render_reference(), "render it again: alert_rules.facts.render_reference()"
