"""Rule files: what is read, what is refused and with which words."""

from __future__ import annotations

import json
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
        (
            "expr: verdict == 'DOWN'",
            "A.expr: verdict is never 'DOWN' (got \"verdict == 'DOWN'\"); it is one of HEALTHY, DEGRADED, UNHEALTHY",
        ),
        ("expr: \"'open' == breaker && flapping\"", "A.expr: breaker is never 'open' (got"),
        ("expr: breaker != 'closed'", "did you mean CLOSED?"),
        ("expr: verdict in ['HEALTHY', 'UNHEALTY']", "A.expr: verdict is never 'UNHEALTY' (got"),
        ("expr: failures == '3'", "A.expr: failures is a number, and never \"'3'\" (got"),
        ("expr: status in [500, '503']", "A.expr: status is a number, and never \"'503'\" (got"),
        ("expr: error == 500", "A.expr: error is a text, and never '500' (got"),
        ("expr: flapping == 'true'", "A.expr: flapping is true or false, and never \"'true'\" (got"),
        ("expr: pool_panic == '1'", "A.expr: pool_panic is a number, and never"),
        ("expr: foo(failures)", "Undefined variable or function: 'foo'"),
        ('expr: url.matches("a(")', "rules.yml:5: A.expr: this pattern of matches() is not RE2: missing ): a("),
        ("expr: failures >", "rules.yml:5: A.expr: this is no CEL expression: 1:11: Syntax error"),
        ("expr: failures / 0 > 1", "rules.yml:5: A.expr: the expression always fails: division by zero"),
        ("expr: duration(url) > duration('1s')", "the expression always fails: Function 'duration' error"),
        ("expr: labels[endpoint] == 'x'", "the expression always fails: there is no 'shop-1' here"),
        ("expr: \"'tier' in labels && labels.tier > 1\"", "the expression fails: No such overload"),
        ("expr: $x", "rules.yml:5: A.expr: this is no CEL expression: 1:1: unexpected '$'"),
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


@pytest.mark.parametrize(
    "expr",
    [
        "override == ''", "override != '' && verdict != 'HEALTHY'", "url + '/x' == 'http://a/x'", "'team' in labels && labels.team == '1'",
        "'x' == url + url", "failures == -1", "pool_panic == 1.0", "url in ['a', url]", "string(status) == '500'", "failures in [1, 2]",
        "labels.exists(name, name == 'verdict')", "[1].exists(n, n == failures)", "'verdict' in labels && labels.verdict == 'DOWN'",
        "flapping == true", "('a' in labels ? labels['a'] : verdict) == 'DOWN'",
    ],
)  # fmt: skip
def test_a_comparison_that_can_be_true_is_left_alone(expr: str) -> None:
    parse_rule_text(f"{HEAD}  - alert: A\n    expr: {json.dumps(expr)}")


TEN = "[1,2,3,4,5,6,7,8,9,10]"


def nested(macro: str, levels: int, inner: str) -> str:
    for level in range(levels):
        inner = f"{TEN}.{macro}(x{level}, {inner})"
    return inner


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        (nested("all", 10, "true"), "the expression could take more than 50000 steps; macros within macros multiply"),
        (nested("exists", 5, "x1 == 11"), "could take more than 50000 steps"),
        (nested("exists_one", 6, "true"), "could take more than 50000 steps"),
        (f"size({nested('filter', 7, 'true')}) > 0", "could take more than 50000 steps"),
        (f"size({nested('map', 5, '[x0, x1, x2, x3]')}) > 0", "could take more than 50000 steps"),
        (f"{TEN}.map(a, {TEN}).all(b, b.all(c, {TEN}.all(d, {TEN}.all(e, {TEN}.all(f, c > d)))))", "could take more than 50000 steps"),
        ("labels.all(a, labels.all(b, labels.all(c, a == b)))", "could take more than 50000 steps"),
        ("[url]" + ".map(a, a + a)" * 12 + " == []", "the expression could make values of more than 1000000 characters"),
        ("[[url]]" + ".map(a, a + a)" * 12 + " == []", "the expression could make values of more than 1000000 characters"),
        ("[url].map(a, [a+a+a+a].map(b, [b+b+b+b].map(c, [c+c+c+c].map(d, d+d+d+d+d+d+d+d)))) == []", "more than 1000000 characters"),
        ("(" * 100_000, "the expression is longer than 4096 characters"),
        ("(" * 4_000, "brackets are nested deeper than 16 levels"),
        ("[" * 17 + "]" * 17 + " == []", "brackets are nested deeper than 16 levels"),
        ("failures > " + "+".join(["1"] * 600), "the expression has more than 500 operators, brackets and dots"),
        ("labels" + "[0]" * 600, "the expression has more than 500 operators, brackets and dots"),
        ("labels" + ".a" * 600, "the expression has more than 500 operators, brackets and dots"),
        ("!" * 600 + "flapping", "the expression has more than 500 operators, brackets and dots"),
        ("failures > 99999999999999999999", "this is no CEL expression: 1:12: invalid int literal"),
        ('url.matches("(x{0,200}){0,200}y")', "this pattern of matches() is not RE2: invalid repetition size"),
        (r'url.matches("\\w{0,50}y")', "a pattern of matches() is too large"),
        (r'url.matches(r"(\pL\pN){50}")', "a pattern of matches() is too large"),
        (r'url.matches("(\x5cpL\x5cpN)\u007b50\U0000007d")', "a pattern of matches() is too large"),
        (r'url.matches("(\134pL\134pN)\17350\175")', "a pattern of matches() is too large"),
        ("url.matches(pool)", "the pattern of matches() must be written out as one text"),
        ('url.matches("a" + pool)', "the pattern of matches() must be written out as one text"),
        ('[url].all(u, u.matches(r"\\w\\w\\w\\w"))' + ' && url.matches(r"\\w\\w\\w\\w")' * 6, "more than 50000 steps"),
    ],
)
def test_an_expression_that_could_cost_much_is_refused_before_it_is_executed(expr: str, why: str) -> None:
    text = refusal(f"{HEAD}  - alert: A\n    expr: {json.dumps(expr)}")
    assert text.startswith("rules.yml:5: A.expr: ")
    assert why in text


@pytest.mark.parametrize(
    "expr",
    [
        nested("all", 3, "x0 < 11"),
        "labels.exists(a, labels.exists(b, a != b && labels[a] == labels[b]))",
        'labels.exists(k, k.startsWith("team") && labels[k] == "shop")',
        'url.matches("^https://[a-z]+[.]shop[.]example(:[0-9]+)?/") || pool == "shop"',
        "endpoint in " + json.dumps([f"e-{n}" for n in range(300)]),
        " || ".join(f'pool == "p{n}"' for n in range(200)),
    ],
)
def test_an_expression_of_a_size_that_people_write_is_accepted(expr: str) -> None:
    assert parse_rule_text(f"{HEAD}  - alert: A\n    expr: {json.dumps(expr)}").rules[0].expr == expr


def test_all_rules_together_are_bounded() -> None:
    rules = "".join(f"  - alert: A{n}\n    expr: '{nested('all', 3, 'failures > x0')}'\n" for n in range(200))
    assert "rules.yml:4: A0.expr: the rules together could take" in refusal(HEAD + rules)


@pytest.mark.parametrize(
    "expr",
    [
        'labels.tier == "1"',
        'labels["tier"] == "1"',
        '"team" in labels && labels.tier == "1"',
        'failures > 3 || labels.tier.startsWith("1")',
        'has(labels.team) && labels.tier == "1"',
        '"tier" in labels || labels.tier == "1"',
        '("tier" in labels && failures > 3) || labels["tier"] == "1"',
    ],
)
def test_a_label_that_is_looked_up_without_asking_for_it_is_refused(expr: str) -> None:
    text = refusal(f"{HEAD}  - alert: A\n    expr: {json.dumps(expr)}")
    assert "rules.yml:5: A.expr: labels.tier fails for an endpoint without this label, and the expression is false for it" in text
    assert text.endswith("""ask `"tier" in labels &&` first, or `!("tier" in labels) ||`""")


@pytest.mark.parametrize(
    "expr",
    [
        '"tier" in labels && labels.tier == "1"',
        '!("tier" in labels) || labels["tier"] != "1"',
        'has(labels.tier) && labels.tier == "1"',
        '"tier" in labels ? labels.tier == "1" : false',
        '"tier" in labels && int(labels.tier) > 1',
        '"since" in labels && timestamp(labels.since) > timestamp("2026-01-01T00:00:00Z")',
    ],
)
def test_a_label_that_is_asked_for_may_be_looked_up(expr: str) -> None:
    assert parse_rule_text(f"{HEAD}  - alert: A\n    expr: {json.dumps(expr)}").rules


def test_a_name_that_a_macro_binds_is_a_variable_beside_it() -> None:
    rule = parse_rule_text(f'{HEAD}  - alert: A\n    expr: \'labels.exists(pool, pool == "x") && pool == "y"\'').rules[0]
    assert rule.variables == ("labels", "pool")
    assert rule.holds({"labels": {"x": "1"}, "pool": "y"})
    rule = parse_rule_text(f"{HEAD}  - alert: A\n    expr: 'failures > 0 && url != \"a.all(failures, 1)\"'").rules[0]
    assert rule.variables == ("failures", "url")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ 1 / 0 }}", "the template always fails: line 1: division by zero"),
        ("{{ latency_ms + url }}", "the template always fails: line 1: unsupported operand"),
        ("{{ labels.team.lead.name }}", "the template always fails: line 1: 'str object' has no attribute 'lead'"),
        ("{{ url | duration }}", "the template always fails: line 1: invalid literal for int()"),
        ("{{ value.missing.x }}", "the template always fails"),
    ],
)
def test_an_annotation_that_always_fails_is_refused_with_its_place(template: str, why: str) -> None:
    text = refusal(f"{HEAD}  - alert: A\n    expr: flapping\n    annotations:\n      summary: ok\n      text: '{template}'")
    assert f"rules.yml:8: A.annotations.text: {why}" in text


@pytest.mark.parametrize(
    "template", ["{{ 1000 / latency_ms }}", "{{ labels.team.upper() }}", "{{ labels.a }}", "{% if not flapping %}{{ 1 / 0 }}{% endif %}"]
)
def test_an_annotation_that_fails_on_some_facts_alone_is_accepted(template: str) -> None:
    assert parse_rule_text(f"{HEAD}  - alert: A\n    expr: flapping\n    annotations: {{x: '{template}'}}").rules


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
    with pytest.raises(ConfigError, match=r"latin\.yml:\d+: the file is no UTF-8 text"):
        load_rules([tmp_path / "latin.yml"])
    with (tmp_path / "long.yml").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(ConfigError, match=rf"long\.yml: it is larger than {FILE_BYTES_MAX} bytes"):
        load_rules([tmp_path / "long.yml"])
