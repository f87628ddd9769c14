"""Matchers: both grammars, which of them wins, and what they match."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_rules.routes.matcher import Matcher, MatcherError, Op, labels_text, matchers_text
from alert_rules.routes.matcher_text import parse_classic, parse_matchers, parse_utf8
from alert_rules.rules.alert import fingerprint

EQ, NE, RE, NR = Op

UTF8_GOOD = [
    ("", []),
    ("{}", []),
    ("{ }", []),
    ("{foo=bar}", [(EQ, "foo", "bar")]),
    ("{foo=bar,}", [(EQ, "foo", "bar")]),
    ("foo=bar,", [(EQ, "foo", "bar")]),
    ("{foo!=bar}", [(NE, "foo", "bar")]),
    ("foo=~[a-z]+", [(RE, "foo", "[a-z]+")]),
    ("foo!~[a-z]+", [(NR, "foo", "[a-z]+")]),
    ("{foo=🙂bar}", [(EQ, "foo", "🙂bar")]),
    ('{"foo"="bar",}', [(EQ, "foo", "bar")]),
    (r'{"foo"="\xf0\x9f\x99\x82"}', [(EQ, "foo", "🙂")]),
    (r'{"foo"="\U0001f642"}', [(EQ, "foo", "🙂")]),
    (r'{"foo"="bar\n"}', [(EQ, "foo", "bar\n")]),
    (r'{"foo"="bar\t"}', [(EQ, "foo", "bar\t")]),
    (r'{"foo"="\"bar\""}', [(EQ, "foo", '"bar"')]),
    (r'{"foo"="bar\\"}', [(EQ, "foo", "bar\\")]),
    (" { foo = bar , bar != baz } ", [(EQ, "foo", "bar"), (NE, "bar", "baz")]),
    ('{"f o"="a,b"}', [(EQ, "f o", "a,b")]),
]
UTF8_BAD = [
    (",", "0:1: unexpected ,: expected label name"),
    ("{,}", "1:2: unexpected ,: expected label name"),
    ("{", "0:1: end of input: expected close brace"),
    ("}", "0:1: }: expected opening brace"),
    ("foo=bar}", "0:8: }: expected opening brace"),
    ("{foo=bar", "0:8: end of input: expected close brace"),
    ('{foo=:"bar"}', '6:11: unexpected "bar": expected a comma or close brace'),
    (r'{foo="bar\w"}', r'5:12: "bar\w": invalid input'),
    (r"{foo=bar\n}", "8:9: \\: invalid input: expected a comma or close brace"),
    (r'{"foo"="\xf0\x9f"}', r'7:17: "\xf0\x9f": invalid input'),
    ("foo=", "end of input: expected label value"),
    ("foo", "end of input: expected an operator such as '=', '!=', '=~' or '!~'"),
    ("!", "0:1: unexpected end of input, expected one of '=~'"),
    ("~", "0:1: ~: invalid input"),
    ('foo=~"a(?=b)"', "failed to create matcher: error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
]
CLASSIC_GOOD = [
    ('{foo="bar", baz!~"quux.*"}', [(EQ, "foo", "bar"), (NR, "baz", "quux.*")]),
    ('{foo=""}', [(EQ, "foo", "")]),
    ("job=", [(EQ, "job", "")]),
    ('{foo="bar,quux", job="job1"}', [(EQ, "foo", "bar,quux"), (EQ, "job", "job1")]),
    ('{foo = "bar", dings != "bums", }', [(EQ, "foo", "bar"), (NE, "dings", "bums")]),
    (r'{quote="She said: \"Hi, ladies!\""}', [(EQ, "quote", 'She said: "Hi, ladies!"')]),
    ("tricky=~~~", [(RE, "tricky", "~~")]),
    (r"trickier==\\=\=\"", [(EQ, "trickier", r'=\=\="')]),
    (r'contains_quote != "\"" , contains_comma !~ "foo,bar" , ', [(NE, "contains_quote", '"'), (NR, "contains_comma", "foo,bar")]),
]
CLASSIC_BAD = [
    ('job="value', 'matcher value contains unescaped double quote: "value'),
    ('job=value"', 'matcher value contains unescaped double quote: value"'),
    (r'trickier==\\=\=\""', r'matcher value contains unescaped double quote: =\\=\=\""'),
    ('contains_unescaped_quote = foo"bar', 'matcher value contains unescaped double quote: foo"bar'),
    ('{invalid-name = "valid label"}', 'bad matcher format: invalid-name = "valid label"'),
    ('{foo=~"invalid[regexp"}', "error parsing regexp: missing closing ]: `[regexp)$`"),
    (r'"foo=\"bar"', r'bad matcher format: "foo=\"bar"'),
]


def built(entries: list[tuple[Op, str, str]]) -> list[Matcher]:
    return [Matcher(name, op, value) for op, name, value in entries]


@pytest.mark.parametrize(("text", "want"), UTF8_GOOD)
def test_utf8_reads(text: str, want: list[tuple[Op, str, str]]) -> None:
    assert parse_utf8(text) == built(want)


@pytest.mark.parametrize(("text", "error"), UTF8_BAD)
def test_utf8_refuses(text: str, error: str) -> None:
    with pytest.raises(MatcherError) as caught:
        parse_utf8(text)
    assert str(caught.value) == error


@pytest.mark.parametrize(("text", "want"), CLASSIC_GOOD)
def test_classic_reads(text: str, want: list[tuple[Op, str, str]]) -> None:
    assert parse_classic(text) == built(want)


@pytest.mark.parametrize(("text", "error"), CLASSIC_BAD)
def test_classic_refuses(text: str, error: str) -> None:
    with pytest.raises(MatcherError) as caught:
        parse_classic(text)
    assert str(caught.value) == error


def test_fallback_takes_the_classic_reading_where_only_it_can() -> None:
    parsed = parse_matchers("foo=")
    assert parsed.matchers == built([(EQ, "foo", "")])
    assert 'foo=""' in parsed.warning


def test_fallback_takes_the_classic_reading_where_they_disagree() -> None:
    parsed = parse_matchers(r'foo="a\tb"')
    assert parsed.matchers == built([(EQ, "foo", r"a\tb")])
    assert parsed.warning


def test_fallback_tells_the_classic_error_where_both_fail() -> None:
    with pytest.raises(MatcherError, match="bad matcher format: foo-bar"):
        parse_matchers("foo-bar=baz=")


def test_fallback_reads_what_only_utf8_can() -> None:
    assert parse_matchers('"foo-bar"=baz') == (built([(EQ, "foo-bar", "baz")]), "")
    with pytest.raises(MatcherError):
        parse_classic('"foo-bar"=baz')


@pytest.mark.parametrize(
    ("op", "value", "label", "want"),
    [
        (EQ, "a", "a", True),
        (EQ, "", None, True),
        (NE, "x", None, True),
        (NE, "x", "x", False),
        (RE, ".*", None, True),
        (RE, "a|b", "ab", False),
        (RE, "a.b", "a\nb", False),
        (RE, "a(?s).b", "a\nb", True),
        (RE, "ab", "ab\n", False),
        (NR, "a+", "aaa", False),
        (NR, "a+", None, True),
    ],
)
def test_a_missing_label_is_empty_and_expressions_are_anchored(op: Op, value: str, label: str | None, want: bool) -> None:
    assert Matcher("foo", op, value).matches({} if label is None else {"foo": label}) is want


def test_keys_are_spelled_as_alertmanager_spells_them() -> None:
    assert matchers_text(built([(EQ, "owner", "team-A"), (NE, "level", "critical")])) == '{level!="critical",owner="team-A"}'
    assert labels_text({"service": "api", "alertname": "X"}) == '{alertname="X", service="api"}'
    assert str(Matcher("f o", EQ, 'a"\n')) == '"f o"="a\\"\\n"'


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=4))
def test_what_is_spelled_reads_back(labels: dict[str, str]) -> None:
    matchers = [Matcher(name, EQ, value) for name, value in labels.items()]
    usable = [one for one in matchers if one.name.isprintable() and (one.value.isprintable() or one.value == "\n")]
    assert parse_utf8(matchers_text(usable)) == sorted(usable, key=lambda one: (one.name, one.value))


@given(st.text(alphabet="{}!=~,\\\"' ab1\n", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_matchers, parse_classic, parse_utf8):
        with contextlib.suppress(MatcherError):
            parsed = parse(text)
            for matcher in parsed if isinstance(parsed, list) else parsed.matchers:
                matcher.matches({"a": "b"})


@pytest.mark.parametrize(
    ("labels", "want"),
    [
        ({"foo": "bar"}, "3fff2c2d7595e046"),
        ({}, "cbf29ce484222325"),
        ({"severity": "warning", "job": "foo"}, "9266ef3da838ad95"),
        ({"alertname": "alert1", "severity": "critical"}, "0223b772b51c29e1"),
    ],
)
def test_fingerprints_are_those_of_alertmanager(labels: dict[str, str], want: str) -> None:
    assert fingerprint(labels) == want
