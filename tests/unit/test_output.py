"""How commands print: nothing that a target sent moves the cursor, and columns stand in line."""

import json

import pytest

from monitor.cli.output import cell, emit, emit_one, sparkline


def test_a_sparkline_goes_from_the_smallest_to_the_largest_with_gaps():
    assert sparkline([1, 2, None, 8]) == "▁▂ █"
    assert sparkline([3, 3]) == "▁▁"
    assert sparkline([]) == sparkline([None]) == ""


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
