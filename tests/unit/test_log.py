"""The log of a process: what others said in it is shown, and no terminal obeys it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from workers.runtime.log import make_readable

SAID = "a\x1b[2J\x9b1m\u202eb"
SHOWN = "a\\x1b[2J\\x9b1m\\u202eb"


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    factory, out = logging.getLogRecordFactory(), io.StringIO()
    logger, handler = logging.getLogger("tests.log"), logging.StreamHandler(out)
    logger.addHandler(handler)
    make_readable()
    yield logger, out
    logging.setLogRecordFactory(factory)
    logger.removeHandler(handler)


def test_a_line_shows_what_moves_a_cursor(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, out = log
    logger.error("it says: %s", SAID)
    assert out.getvalue() == f"it says: {SHOWN}\n"


def test_so_does_the_text_of_an_error_below_its_traceback(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, out = log
    try:
        raise ValueError(SAID)
    except ValueError:
        logger.exception("it fails")
    assert f"ValueError: {SHOWN}" in out.getvalue()
    assert all(line.isprintable() for line in out.getvalue().splitlines())
    assert out.getvalue().startswith("it fails\nTraceback")
