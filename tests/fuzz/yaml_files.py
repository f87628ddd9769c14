"""Files of YAML, changed as hands, editors and those who mean harm change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import strategies as st

from monitor.core.errors import ConfigError

T = TypeVar("T")

LENGTH_MAX = 10_000
"""Characters of the words about one error."""

_PIECES = (
    *("&a ", "*a", "<<: *a", "<<: [*a, *a]", "<<: 1", "*a: *a", "&a [*a, *a]", "!!python/object:os.system x", "!x ", "%YAML 1.1\n"),
    *("---\n", "...\n", "? ", ": ", "- ", "{", "}", "[", "]", "'", '"', "|\n", ">\n", "#", "\t", "  ", "\n", "[" * 40, "{a: " * 40),
    *("\x00", "\x1b[31m", "\u202e", "\ud800", "\ufeff", "\x85", "null", "~", "1e400", "-1", "9" * 400, "true", "x" * 5_000),
    *("{{ 1 / 0 }}", "{% for a in labels %}"),
)


@st.composite
def mutated(draw: st.DrawFn, *files: str) -> str:
    """One of the files, with some of its lines moved, repeated, dropped or indented, and pieces of YAML put into them."""
    lines = draw(st.sampled_from(files)).splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(("drop", "repeat", "move", "indent", "cut", "put", "value", "text"))):
            case "drop":
                lines[at] = "\n"
            case "repeat":
                lines.insert(at, lines[at])
            case "move":
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case "indent":
                lines[at] = " " * draw(st.integers(0, 6)) + lines[at].lstrip(" ")
            case "cut":
                lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))] + "\n"
            case "put":
                place = draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:place] + draw(st.sampled_from(_PIECES)) + lines[at][place:]
            case "value":
                lines[at] = lines[at].partition(":")[0] + ": " + draw(st.sampled_from(_PIECES)) + "\n"
            case "text":
                lines[at] = lines[at].partition(":")[0] + ": " + draw(st.text(max_size=20)) + "\n"
    return "".join(lines)


def readings(read: Callable[[], T], source: str) -> T | None:
    """What is read; None where it is refused, each problem with its place."""
    try:
        return read()
    except ConfigError as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert problem.where.startswith(source), str(problem)
        assert "\x1b" not in str(problem)
        assert len(str(problem)) < LENGTH_MAX
    return None
