"""How commands print: nothing that a target sent moves the cursor, and columns stand in line."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from monitor.cli.look import probes_line
from monitor.cli.main import main
from monitor.cli.output import FAILED, cell, emit, emit_one, say, sparkline, tell
from monitor.core.history import Sample
from monitor.core.outcome import Outcome


def test_a_sparkline_goes_from_the_smallest_to_the_largest_with_gaps_and_marks():
    assert sparkline([1, 2, None, 8]) == "▁▂ █"
    assert sparkline([3, 3]) == "▁▁"
    assert sparkline([]) == sparkline([None]) == ""
    assert sparkline([1, FAILED, None, 8, FAILED]) == "▁× █×"
    assert sparkline([FAILED, FAILED]) == "××"


def test_probes_are_drawn_with_failures_marked_and_gaps_where_nothing_is_known():
    def probe(at_s: float, outcome: Outcome = Outcome.SUCCESS, duration_ms: float = 1) -> Sample:
        return Sample(int(at_s * 1_000), duration_ms, 0, outcome, None)

    failed, unknown = Outcome.FAILURE, Outcome.INCONCLUSIVE
    samples = [probe(10), probe(20, duration_ms=8), probe(30, failed), probe(40, unknown), probe(50, failed, 9_000)]
    assert probes_line(samples, 10_000) == "▁█× ×"
    assert probes_line([probe(10), probe(30), probe(55.1), probe(65), probe(200, failed)], 10_000) == "▁▁ ▁▁ ×"
    assert probes_line([probe(10, failed), probe(20, failed)], 10_000) == "××"
    assert probes_line([], 10_000) == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        (True, "yes"),
        ({"a": None}, "a=-"),
        (["x", 1], "x, 1"),
        ({}, "-"),
        ("\x1b[2J\nhi", "\\x1b[2J\\nhi"),
        ("été", "été"),
    ],
)
def test_cells(value: object, shown: str):
    assert cell(value) == shown


def test_columns_stand_in_line_whatever_is_in_them(capsys: pytest.CaptureFixture[str]):
    emit([{"id": "日本", "up": True}, {"id": "a"}], ("id", "up"), "table")
    assert capsys.readouterr().out == "ID    UP\n日本  yes\na     -\n"
    emit([], ("id",), "table")
    assert capsys.readouterr().out == "ID\n"
    emit_one({}, "table")
    assert capsys.readouterr().out == ""


def test_programs_get_every_key(capsys: pytest.CaptureFixture[str]):
    emit([{"id": "a", "more": (1, 2)}], ("id",), "json")
    assert json.loads(capsys.readouterr().out) == [{"id": "a", "more": [1, 2]}]
    emit_one({"id": "a"}, "yaml")
    assert capsys.readouterr().out == "id: a\n"


def test_what_a_terminal_can_show_is_shown(capsys: pytest.CaptureFixture[str]):
    emit_one({"id": "é日🦉"}, "yaml")
    assert capsys.readouterr().out == "id: é日🦉\n"


HOSTILE = "\x1b[31m\x9b2J\u202e日"


@pytest.mark.parametrize(("output", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_what_programs_read_has_nothing_that_a_terminal_obeys_and_loses_nothing(
    capsys: pytest.CaptureFixture[str], output: str, parse: Callable[[str], Any]
):
    emit([{HOSTILE: HOSTILE}], (), output)
    written = capsys.readouterr().out
    assert written.replace("\n", "").isprintable()
    assert parse(written) == [{HOSTILE: HOSTILE}]


def test_words_keep_their_lines_and_nothing_else_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]):
    say(f"one\n{HOSTILE}")
    tell(HOSTILE)
    written = capsys.readouterr()
    assert written.err == "one\n\\x1b[31m\\x9b2J\\u202e日\n"
    assert written.out == "\\x1b[31m\\x9b2J\\u202e日\n"


def test_an_option_that_is_refused_is_repeated_without_what_a_terminal_obeys_and_without_a_password(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["events", "--since", "http://me:opensesame@h/\x1b[31m"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "opensesame" not in said
    assert "\x1b" not in said
    assert "is no time" in said
