"""Rule files: what is read, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from alert_rules.files.reader import FILE_BYTES_MAX
from alert_rules.files.rule_file import load_rules, parse_rule_text
from alert_rules.rules.facts import Scope
from monitor.core.errors import ConfigError

HEAD = "groups:\n- name: g\n  rules:\n"


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_rule_text(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("expr", "scope"),
    [
        ("failures > 0", Scope.ENDPOINT),
        ('pool == "shop"', Scope.ENDPOINT),
        ('pool == "shop" && pool_size > 1', Scope.POOL),
        ("system_workers == 0", Scope.SYSTEM),
        ("false", Scope.ENDPOINT),
        ('labels.exists(k, k == "team")', Scope.ENDPOINT),
        ('"tier" in labels && labels.tier == "1"', Scope.ENDPOINT),
        ("double(latency_ms) * 1.5 > 100.0", Scope.ENDPOINT),
        ("1000 / latency_ms > 2", Scope.ENDPOINT),
    ],
)
def test_variables_decide_whom_a_rule_speaks_of(expr: str, scope: Scope) -> None:
    assert parse_rule_text(f"{HEAD}  - alert: A\n    expr: {expr!r}").rules[0].scope is scope


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ("expr: verdct == 'x'", "rules.yml:5: A.expr: there is no variable 'verdct' (got \"verdct == 'x'\"); did you mean verdict?"),
        ("expr: pool_size > 1 && failures > 1", "one rule speaks of an endpoint, of a pool or of the system, not of several"),
        ("expr: failures + 1", "rules.yml:5: A.expr: the expression must be true or false, and is '1'"),
        ('expr: latency_ms > "a"', "rules.yml:5: A.expr: the expression fails: No such overload"),
        ("expr: latency_ms * 1.5 > 2.0", "rules.yml:5: A.expr: the expression fails:"),
        ("expr: foo(failures)", "Undefined variable or function: 'foo'"),
        ('expr: url.matches("a(")', "the expression fails:"),
        ("expr: failures >", "rules.yml:5: A.expr: this is no CEL expression: 1:11: Syntax error"),
        ("for: 1m", "A.expr: a rule needs an expression; write for example `expr: failures >= 3`"),
        ("expr: flapping\n    for: 1 m", "rules.yml:6: A.for: '1 m' is not a duration"),
        ("expr: flapping\n    annotation: {}", "rules.yml:6: g.rules.annotation: this key is not known here; did you mean annotations?"),
        ("expr: flapping\n    record: x", "leave it out: rollups are kept without rules"),
        ("expr: flapping\n    labels: {endpoint: x}", "this label is always set by Watchkeeper"),
        ("expr: flapping\n    labels: {a-b: x}", "this is no label name"),
        ("expr: flapping\n    labels: {x: '{{ url }}'}", "labels are the alert's identity and cannot be templates"),
        ("expr: flapping\n    annotations: {x: '{{ endpoints }}'}", "rules.yml:6: A.annotations.x: unknown variable 'endpoints'"),
        ("expr: flapping\n    annotations: {x: '{{ $labels.x }}'}", "this is a Go template; write Jinja2"),
        ("expr: flapping\n    annotations: {x: '{% if %}'}", "this is no Jinja2 template"),
        ("expr: flapping\n    annotations: {x: [url]}", "rules.yml:6: A.annotations.x: this must be a text"),
        (f"expr: flapping\n    annotations: {{x: {'x' * 16_385}}}", "the template is longer than 16384 characters"),
    ],
)
def test_a_bad_rule_names_line_key_and_hint(rule: str, error: str) -> None:
    assert error in refusal(f"{HEAD}  - alert: A\n    {rule}")


def test_all_problems_are_told_at_once() -> None:
    text = refusal(f"{HEAD}  - alert: A\n    expr: nope\n  - expr: flapping\n  - alert: C\n    expr: 1 +\nother: 1")
    assert text.count("rules.yml:") == 4


@pytest.mark.parametrize("text", ["groups: 1", "- a", "groups: [{rules: []}]", "groups: [{name: g, rules: {}}]", "group: []"])
def test_a_file_of_another_shape_is_refused(text: str) -> None:
    assert refusal(text)


def test_rules_of_one_name_differ_by_labels() -> None:
    one = "  - {alert: A, expr: failures > 3, labels: {severity: %s}}\n"
    rules = parse_rule_text(HEAD + one % "warning" + one % "critical").rules
    assert len({rule.key for rule in rules}) == 2
    assert "was written before, at rules.yml:4" in refusal(HEAD + one % "warning" + one % "warning")


def test_a_rule_of_ones_own_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text(f"{HEAD}  - alert: EndpointSlow\n    expr: 'false'\n  - alert: Mine\n    expr: flapping\n")
    (tmp_path / "ignored.txt").write_text("no rules")
    shipped = {rule.name: rule.expr for rule in load_rules().rules}
    rules = {rule.name: rule.expr for rule in load_rules([tmp_path]).rules}
    assert rules == shipped | {"EndpointSlow": "false", "Mine": "flapping"}
    assert [rule.name for rule in load_rules([tmp_path], include_pack=False).rules] == ["EndpointSlow", "Mine"]


def test_the_version_follows_what_decides() -> None:
    one, same, other = (parse_rule_text(f"{HEAD}  - alert: A\n    expr: failures > {n}").version for n in (1, 1, 2))
    assert one == same != other


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yml: the file cannot be read"):
        load_rules([tmp_path / "gone.yml"])
    (tmp_path / "latin.yml").write_bytes("groups: [{name: Z\xfcrich}]".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yml: the file is not UTF-8 text"):
        load_rules([tmp_path / "latin.yml"])
    with (tmp_path / "long.yml").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(ConfigError, match=rf"long\.yml: the file is larger than {FILE_BYTES_MAX} bytes"):
        load_rules([tmp_path / "long.yml"])
