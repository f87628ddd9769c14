"""Rule files as anybody could write them: rules or a located refusal, and no rule that costs more than it may."""

from __future__ import annotations

import json
import time
from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from alert_rules.files.rule_file import parse_rule_text
from alert_rules.rules.cel import compile_expression
from alert_rules.rules.cel_cost import CelError
from alert_rules.rules.facts import VARIABLES
from alert_rules.rules.rule import RuleSet
from tests.fuzz.play import cases
from tests.fuzz.yaml_files import mutated, readings

SECONDS_MAX = 2.0
"""Of processor time for one expression; it may take a hundredth of that, on a machine that has time for it."""
LARGEST = {variable.name: variable.samples[-1] for table in VARIABLES.values() for variable in table.values()} | {
    "labels": {f"label_{number}_{'x' * 50}": "v" * 250 + str(number) for number in range(64)},
    "url": "http://" + "x" * 2_000,
    "error": "é" * 1_000,
}
FILE = """\
groups:
  - name: shop
    rules:
      - alert: CheckoutSlow
        expr: pool == "checkout" && latency_ms > 400 && labels.exists(k, k == "team" && labels[k] == "shop")
        for: 2m
        keep_firing_for: 1m
        labels: &shop {severity: critical, team: shop}
        annotations:
          summary: "{{ endpoint }} answers in {{ latency_ms | duration }}"
          description: "It is {{ labels.region | default('somewhere') }}"
      - alert: HalfOfThePoolIsGone
        expr: pool_size >= 4 && pool_healthy_percent < 50
        labels: {<<: *shop, severity: warning}
      - alert: EndpointSlow
        expr: "false"
"""
LITERALS = (
    "1",
    "0",
    "1.5",
    '"a"',
    "true",
    "null",
    "9223372036854775807",
    "[1, 2, 3]",
    '["a", "b"]',
    '{"a": 1}',
    "[]",
    '""',
    "[[1], [2, 3]]",
)
WORDS = (
    *LITERALS,
    *LARGEST,
    *(
        "x",
        "y",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "?",
        ":",
        "!",
        "-",
        "+",
        "==",
        "&&",
        "||",
        "in",
        "%",
        "<",
        "'",
        '"' * 3,
        "\\",
        "//",
    ),
    *(".all(x,", ".exists(y,", ".map(x,", ".filter(y,", ".exists_one(x,", "size(", ".matches(", "string(", "has(labels.a)"),
)


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    macro = st.sampled_from(("all", "exists", "exists_one", "map", "filter"))
    binary = st.sampled_from(("+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||", "in"))
    method = st.sampled_from(("size", "startsWith", "contains", "matches", "endsWith", "getFullYear", "exists_one"))
    return st.one_of(
        st.builds("({})".format, inner),
        st.builds("{} {} {}".format, inner, binary, inner),
        st.builds("{} ? {} : {}".format, inner, inner, inner),
        st.builds("{}.{}({}, {})".format, inner, macro, st.sampled_from("xy"), inner),
        st.builds("{}.{}({})".format, inner, method, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("{}({})".format, st.sampled_from(("size", "string", "int", "double", "duration", "timestamp", "has", "type")), inner),
    )


EXPRESSIONS = st.recursive(st.sampled_from((*LITERALS, *LARGEST, "x", "y")), combined, max_leaves=40)
PATTERN_PARTS = (
    "a",
    ".",
    r"\w",
    r"\d",
    r"\pL",
    "[^a]",
    "(",
    "(?:",
    ")",
    "|",
    "*",
    "+",
    "?",
    "{0,9}",
    "{50}",
    "{1000}",
    "^",
    "$",
    "é",
    r"\x7b99\x7d",
)
PATTERNS = st.lists(st.sampled_from(PATTERN_PARTS), max_size=8)


def check(expression: str) -> None:
    """It is refused, or what it costs stays within its bound, whatever comes of it."""
    begin_s = time.process_time()
    try:
        program, read = compile_expression(expression)
        program.execute({name: LARGEST[name] for name in read.names if name in LARGEST})
    except CelError:
        pass
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):  # As rules meet them: it counts as false.
        pass
    assert time.process_time() - begin_s < SECONDS_MAX


@example("[url]" + ".map(x, x + x)" * 30)
@example("(" * 4_000)
@example("labels" + "[0]" * 1_300)
@example("-" * 4_096)
@example("1" + "?1:1" * 1_000)
@cases(300)
@given(EXPRESSIONS | st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join) | st.text(max_size=60))
def test_an_expression_is_refused_or_cheap(expression: str) -> None:
    check(expression)


@cases(60)
@given(PATTERNS.map("".join), st.booleans())
def test_a_pattern_is_refused_or_cheap(pattern: str, raw: bool) -> None:
    check(f'url.matches({"r" * raw}"{pattern}")')


@example(FILE)
@cases(250)
@given(mutated(FILE))
def test_a_rule_file_is_read_or_refused_with_its_place(text: str) -> None:
    found = readings(lambda: parse_rule_text(text, "rules.yml"), "rules.yml")
    assert isinstance(found, RuleSet) or (found is None and text != FILE)


@cases(100)
@given(EXPRESSIONS)
def test_a_rule_that_was_read_is_evaluated(expression: str) -> None:
    text = f"groups: [{{name: g, rules: [{{alert: A, expr: {json.dumps(expression)}}}]}}]"
    rules = readings(lambda: parse_rule_text(text), "rules.yml:1")
    for rule in rules.rules if rules else ():
        assert set(rule.variables) <= VARIABLES[rule.scope].keys()
        with suppress(ArithmeticError, LookupError):
            rule.holds({name: LARGEST[name] for name in rule.variables})
