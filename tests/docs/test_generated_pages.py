"""The parts of the docs that are made from code are as committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate import DOCS, filled, pages


@pytest.mark.parametrize(("page", "text"), [pytest.param(page, text, id=str(page.relative_to(DOCS))) for page, text in pages()])
def test_the_page_is_what_the_code_says(page: Path, text: str) -> None:
    assert page.read_text() == text, "write it again: make docs"


def test_a_page_without_its_mark_is_an_error() -> None:
    with pytest.raises(ValueError, match="'transitions' is not there"):
        filled("no mark", {"transitions": str})
