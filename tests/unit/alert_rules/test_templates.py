"""Templates: what they may say, how much work they may make, and what of their text is the configuration's own."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from alert_rules.rules.template import TemplateError, compile_template, failure, render

VALUES = {
    "endpoint": "shop-1",
    "error": "*said*",
    "labels": {"team": "shop", "items": "3"},
    "alerts": [{"summary": f"alert {number}", "severity": "critical"} for number in range(3)],
}


def rendered(source: str, **values: object) -> str:
    return render(compile_template(source, {*VALUES, *values}), {**VALUES, **values})


def escaped(source: str) -> str:
    """As `rendered`, where each text that others say comes between brackets."""
    return render(compile_template(source, VALUES), VALUES, escape=lambda text: f"[{text}]")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}", "nested too deeply"),
        ("{{ " + "not " * 3_000 + "1 }}", "nested too deeply"),
        ("{{ endpoint" + ".a" * 3_000 + " }}", "nested too deeply"),
        ("{{ 1" + " + 1" * 3_000 + " }}", "nested too deeply"),
        ("{% if endpoint %}" * 300 + "{% endif %}" * 300, "nested too deeply"),
        ("{% for a in alerts %}" * 21 + "{% endfor %}" * 21, "nested too deeply"),
        ("{{ " + "9" * 5_000 + " }}", "4300 digits"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "there is no macro here"),
        ("one\n{% include 'two' %}", "line 2: there is no include here"),
        ("{% extends 'two' %}", "there is no extends here"),
        ("{% block a %}{{ self.a() }}{% endblock %}", "there is no block here"),
        ("{% for a in alerts recursive %}{{ loop(alerts) }}{% endfor %}", "there is no recursive loop here"),
        ("{{ self }}", "there is no variable 'self'"),
        ("{{ endpoint | random }}", "there is no filter 'random'"),
        ("{{ endpoint | nothing }}", "there is no filter 'nothing'"),
        ("{{ endpoint is nothing }}", "No test named 'nothing'"),
    ],
)
def test_what_no_template_may_say_is_refused_when_it_is_read(source: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why):
        compile_template(source, VALUES)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 2000000000 }}",
        "{{ 2000000000 * 'x' }}",
        "{{ [endpoint] * 2000000000 }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{% set x = 9 ** 200 %}" + "{% set x = x * x %}" * 40 + "{{ x }}",
        "{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 60 + "{{ x }}",
        "{% set x = 'ab' %}" + "{% set x = x + x %}" * 60 + "{{ x }}",
        "{% set x = 'ab' %}" + "{% set x = [x, x] | join(x) %}" * 60 + "{{ x }}",
        "{% set x = 'ab' %}" + "{% set x = x.replace('', x) %}" * 60 + "{{ x }}",
        "{% set x = 'ab' %}" + "{% set x = x | replace('b', x) | replace('a', x) %}" * 60 + "{{ x }}",
        "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
        "{% set x = [1] %}" + "{% set x = (x, x) %}" * 60 + "{{ labels[x] }}",
        "{% set x = [1] %}" + "{% set x = {'a': x, 'b': x} %}" * 60 + "{{ x == x }}",
        "{% set x = [1] %}" + "{% set x = x + x %}" * 60 + "{{ x }}",
        "{{ endpoint | center(1000000000) }}",
        "{{ ('a\n' * 8000) | indent(16000) }}",
        "{{ ('a ' * 8000) | wordwrap(1, wrapstring='x' * 16000) }}",
        "{{ alerts | batch(1000000000, 'x') | list }}",
        "{{ alerts | slice(1000000000) | list }}",
        "{{ 1.5 | round(1000000000, 'ceil') }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%01000000000.1f' | format(1) }}",
        "{{ ('%(a)s' * 3000) % {'a': 'x' * 16000} }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ endpoint.center(1000000000) }}",
        "{{ (1).to_bytes(1000000000, 'big') }}",
        "{{ endpoint.expandtabs(1000000000) }}",
        "{% for a in many %}{% for b in many %}{% for c in many %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in many %}{% for b in many if b == 'x' %}{% endfor %}{% endfor %}",
        "{% for a in many %}{% if many | sort | unique | list == many %}{% endif %}{% endfor %}",
        "{% set kept %}{% for a in many %}" + "x" * 16_000 + "{% endfor %}{% endset %}{{ kept | length }}",
        "{{ [many, many, many] | tojson }}",
    ],
)
def test_what_a_template_makes_is_bounded_in_steps_and_in_memory(source: str) -> None:
    many = [str(number) for number in range(2_000)]
    template = compile_template(source, {*VALUES, "many"})
    tracemalloc.start()
    try:
        text = render(template, {**VALUES, "many": many})
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert text.startswith("<template failed: line 1: ") or len(text) < 300
    assert len(text) < 400
    assert most_bytes < 16 * 2**20


def test_a_template_that_takes_too_many_steps_on_each_sample_is_tried_on_a_few() -> None:
    tried: list[int] = []

    def samples() -> Iterator[dict[str, object]]:
        for number in range(1_000):
            tried.append(number)
            yield {**VALUES, "many": "x" * 2_000}

    template = compile_template("{% for a in many %}{% for b in many if b == 'y' %}{% endfor %}{% endfor %}", {"many"})
    assert "it takes more than 250000 steps" in failure(template, samples())
    assert len(tried) < 10


@pytest.mark.parametrize("source", ["{{ many | map('upper') | list | length }}", "{% for a in many %}{% endfor %}"])
def test_a_list_of_more_than_a_template_may_go_through_is_refused(source: str) -> None:
    text = render(compile_template(source, {"many"}), {"many": ["a"] * 70_000})
    assert text == "<template failed: line 1: a list of more than 65536 items>"


def test_what_does_not_exist_cannot_be_called() -> None:
    assert rendered("{{ labels.nothing() }}") == "<template failed: line 1: 'dict object' has no attribute 'nothing'>"


def test_a_template_that_fails_says_where_and_sends_what_it_wrote_until_then() -> None:
    assert rendered("{{ endpoint }}:\n{{ 1 / 0 }}") == "shop-1:\n<template failed: line 2: division by zero>"
    assert escaped("{{ labels.team.x.y }}") == "<template failed: line 1: ['str object' has no attribute 'x']>"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ alerts | map(attribute='summary') | join(', ') }}", "alert 0, alert 1, alert 2"),
        ("{% for alert in alerts if alert.severity == 'critical' %}{{ loop.index }}{{ ', ' if not loop.last }}{% endfor %}", "1, 2, 3"),
        ("{% for word, all in [('A', alerts), ('B', [])] if all %}{{ word }}{{ all | length }}{% endfor %}", "A3"),
        ("{% for name, value in labels | dictsort %}{{ name }}={{ value }};{% endfor %}", "items=3;team=shop;"),
        ("{{ {'shop': 'the shop'}.get(labels.team, 'nobody') }}", "the shop"),
        ("{{ '%.1f%%' | format(12.345) }} {{ '%s-%s' % (endpoint, 1) }}", "12.3% shop-1-1"),
        ("{{ endpoint.upper().split('-')[0] }} {{ endpoint[:4] }} {{ endpoint | replace('-', '+') | truncate(50) }}", "SHOP shop shop+1"),
        ("{{ labels.other | default('nobody') }} {{ 90000 | duration }} {{ alerts | tojson | length > 9 }}", "nobody 1m30s True"),
        ("{% set found %}{{ endpoint }}!{% endset %}{{ found }}{% with a = 2 %}{{ a * 3 }}{% endwith %}", "shop-1!6"),
        ("{% for alert in alerts %}{{ loop.cycle('a', 'b') }}{% endfor %}", "aba"),
        ("{{ alerts | join(' + ', attribute='summary') }}; {{ labels.team.join(['a', 'b']) }}", "alert 0 + alert 1 + alert 2; ashopb"),
        (
            "{{ [endpoint, endpoint] | join(labels.team) }} {{ 7 % 4 }} {{ 9 is divisibleby 3 }} {{ labels.other is defined }}",
            "shop-1shopshop-1 3 True False",
        ),
        ("{% raw %}{{ x }}{% endraw %}{# said to nobody #}", "{{ x }}"),
    ],
)
def test_templates_say_what_messages_need(source: str, text: str) -> None:
    assert rendered(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("**{{ error }}**", "**[*said*]**"),
        ("{{ '**' ~ error ~ '**' }}", "**[*said*]**"),
        ("{{ '**' + error }}", "**[*said*]"),
        ("{{ '**DOWN**' if endpoint else error }}", "**DOWN**"),
        ("{{ labels.other | default('_nobody_') }}", "_nobody_"),
        ("{{ [error, error] | join('\n* ') }}", "[*said*]\n* [*said*]"),
        ("{% set mark = '**' %}{{ mark ~ error ~ mark }}", "**[*said*]**"),
        ("{% set all %}**{{ error }}**{% endset %}{{ all }}", "**[*said*]**"),
        ("{{ error | safe }}", "*said*"),
        ("{{ error | e }}", "[*said*]"),
        ("{{ (error | safe) | upper }}", "[*SAID*]"),
        ("{{ ('%s' | safe) | format(error) }}", "[*said*]"),
        ("{{ ('**' ~ error) | replace('[', '') }}", "[***said*]]"),
        ("{{ error.upper() }}", "[*SAID*]"),
        ("{{ [error] }}", "[['*said*']]"),
    ],
)
def test_what_others_say_is_escaped_and_what_the_template_says_is_not(source: str, text: str) -> None:
    assert escaped(source) == text
