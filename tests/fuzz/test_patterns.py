"""Patterns and bodies: what is accepted costs no more than its instructions allow, what is not is refused with a hint."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_rules.routes.matcher import Matcher, MatcherError, Op, compile_anchored
from monitor.probes.pattern import PATTERN_LENGTH_MAX, PROGRAM_SIZE_MAX, Pattern
from tests.fuzz.play import cases

NS_PER_WORK_MAX = 200
"""Measured are 7; a busy machine whose caches are others' takes longer, an error in the kind of cost a thousand times as long."""
START_NS = 50_000_000

ATOMS = st.sampled_from(
    [
        "a",
        "g",
        "ab",
        ".",
        r"\d",
        r"\w",
        r"\s",
        "[ag]",
        "[^a]",
        r"\pL",
        r"\PN",
        "é",
        "(?i:ß)",
        r"\b",
        r"\B",
        "^",
        "$",
        r"\C",
        "(?s:.)",
        r"\x00",
    ]
)
REPEATS = st.sampled_from(["", "*", "+", "?", "*?", "{2}", "{0,9}", "{3,30}?", "{0,250}", "{1000}", "{0,1000}", "{1001}", "**"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    parts = st.lists(inner, min_size=1, max_size=4)
    grouped = st.builds(lambda text, repeat: f"({text}){repeat}", inner, REPEATS)
    return st.one_of(parts.map("".join), parts.map("|".join), grouped)


PATTERNS = st.one_of(
    st.recursive(st.builds("{}{}".format, ATOMS, REPEATS), _grown, max_leaves=12),
    st.text(st.characters(), max_size=PATTERN_LENGTH_MAX + 1),
    st.text("(){}[]*+?|\\^$.0123456789,aPpLQE:=<>!-", max_size=60),
)
BODIES = st.one_of(st.binary(max_size=300), st.text("ag0 x\n", max_size=300).map(str.encode), st.just("aé漢😀".encode()))


@cases(200)
@given(PATTERNS, BODIES, st.integers(1, 40))
def test_what_is_accepted_has_its_price_and_the_rest_a_hint(text: str, piece: bytes, times: int) -> None:
    body, why = piece * times, ""
    try:
        pattern = Pattern(text)
    except ValueError as error:
        why = str(error)
    if why:
        assert "; " in why
        return
    assert pattern.size <= PROGRAM_SIZE_MAX
    begun = time.thread_time_ns()
    found = pattern.found_in(body)
    assert time.thread_time_ns() - begun <= START_NS + NS_PER_WORK_MAX * pattern.size * len(body)
    assert found == pattern.found_in(bytearray(body))


@cases(150)
@given(PATTERNS, st.text("ag0 xé", max_size=256))
def test_what_a_matcher_accepts_is_matched_at_once(text: str, label: str) -> None:
    try:
        compiled = compile_anchored(text)
    except MatcherError:
        return
    begun = time.thread_time_ns()
    compiled.search(label.encode())
    assert time.thread_time_ns() - begun <= START_NS + NS_PER_WORK_MAX * compiled.programsize * len(label.encode())


@pytest.mark.parametrize("text", [r"\d.{0,1000}x", r"(a{0,30}){0,30}g{0,900}", "\ud800"])
def test_what_was_found(text: str) -> None:
    with pytest.raises(ValueError, match="; "):
        Pattern(text)


def test_what_was_found_in_matchers() -> None:
    with pytest.raises(MatcherError, match=r"error parsing regexp: invalid UTF-8: `\?`"):
        compile_anchored("\udcff")
    with pytest.raises(MatcherError, match="makes more than 10000 instructions"):
        compile_anchored(r".{0,1000}a.{0,1000}")
    assert Matcher("a", Op.NOT_REGEX, ".").matches({"a": "\udcff\udcff"})
