"""Templates that operators write: each is refused with its reason or rendered within its bounds, whatever it says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alert_rules.notify.message import NAMES
from alert_rules.rules.sandbox import Sandbox
from alert_rules.rules.template import SOURCE_LENGTH_MAX, TemplateError, compile_template, render
from tests.fuzz.play import cases

LENGTH_MAX = 2_000
VALUES = {
    "status": "firing",
    "subject": "shop-1 *is* down\x1b[2J",
    "group_labels": {"pool": "shop"},
    "alerts": [{"summary": f"<@{number}>", "labels": {"pool": "shop"}, "n": number} for number in range(40)],
}
FILTERS = sorted(name for name in Sandbox().filters if name.isidentifier())
TESTS = sorted(name for name in Sandbox().tests if name.isidentifier())
METHODS = ["format", "center", "join", "replace", "split", "items", "encode", "to_bytes", "zfill", "__class__", "__init__", "mro", "copy"]
TEXTS = ["'ab'", "'%9999d'", "'{:9999}'", "'\n'"]
ATOMS = [*VALUES, *TEXTS, "x", "y", "loop", "0", "1", "2", "-1", "1.5", "16000", "2000000000", "true", "none", "[]"]


def _more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    both = st.tuples(inner, inner)
    return st.one_of(
        st.builds("({0[0]} {1} {0[1]})".format, both, st.sampled_from([*"+-*/%~<", "//", "**", "==", "in", "and", "or"])),
        st.builds("{0[0]} | {1}({0[1]})".format, both, st.sampled_from(FILTERS)),
        st.builds("{} | {}".format, inner, st.sampled_from(FILTERS)),
        st.builds("{0[0]} | map('{1}', {0[1]}) | list".format, both, st.sampled_from(FILTERS)),
        st.builds("{} | map(attribute='{}') | list".format, inner, st.sampled_from(["summary", "labels.pool", "__class__", "n"])),
        st.builds("({0[0]} is {1}({0[1]}))".format, both, st.sampled_from(TESTS)),
        st.builds("({0[0]}).{1}({0[1]})".format, both, st.sampled_from(METHODS)),
        st.builds("[{0[0]}, {0[1]}]".format, both),
        st.builds("({0[0]}, {0[1]})".format, both),
        st.builds("{{'a': {0[0]}, 'b': {0[1]}}}".format, both),
        st.builds("({})[1:]".format, inner),
        st.builds("({0[0]})[{0[1]}]".format, both),
        st.builds("({0[0]} if {0[1]})".format, both),
    )


EXPRESSIONS = st.recursive(st.sampled_from(ATOMS), _more, max_leaves=6)


def _bodies(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{{% for x in {} %}}{}{{% endfor %}}".format, EXPRESSIONS, inner),
        st.builds("{{% for x, y in {} if y %}}{}{{% else %}}-{{% endfor %}}".format, EXPRESSIONS, inner),
        st.builds("{{% if {} %}}{}{{% endif %}}".format, EXPRESSIONS, inner),
        st.builds("{{% set x %}}{}{{% endset %}}{{{{ x }}}}".format, inner),
        st.builds("{{% macro m(x) %}}{}{{{{ m(x) }}}}{{% endmacro %}}".format, inner),
        st.builds("{}\n{}".format, inner, inner),
    )


STATEMENTS = st.one_of(
    st.builds("{{{{ {} }}}}".format, EXPRESSIONS),
    st.builds("{{% set x = {} %}}".format, EXPRESSIONS),
    st.builds(lambda line, times: "{% set x = 'ab' %}{% set y = [1] %}" + line * times, st.sampled_from(
        ["{% set x = x ~ x %}", "{% set y = [y, y] %}", "{% set y = y + y %}", "{% set x = x * 9 %}", "{% set x = [x, x] | join(x) %}"]
    ), st.integers(1, 40)),
)  # fmt: skip
TEMPLATES = st.recursive(STATEMENTS, _bodies, max_leaves=5)
_WORDS = ["{{", "}}", "{%", "%}", "{#", "#}", "-%}", "for x in alerts", "endfor", "if", "|", "(", ")", "'", '"', "\\"]
MARKS = st.lists(st.one_of(st.sampled_from(_WORDS), st.text(max_size=3)), max_size=30).map(" ".join)


def _one(source: str) -> None:
    refusal = text = ""
    try:
        template = compile_template(source[:SOURCE_LENGTH_MAX], NAMES)
    except TemplateError as error:
        refusal = str(error)
    else:
        text = render(template, VALUES, LENGTH_MAX)
    assert len(refusal) < 1_000
    assert len(text) <= LENGTH_MAX
    assert "\x1b" in source or "\x1b" not in text


@cases(120)
@given(TEMPLATES)
def test_a_template_is_rendered_or_refused_within_its_bounds(source: str) -> None:
    _one(source)


@cases(60)
@given(MARKS)
def test_text_that_only_looks_like_a_template_is_rendered_or_refused(source: str) -> None:
    _one(source)


MARKS_THAT_NEST = ["(", "[", "{", "not", "-", "{{", "{%", "for(x)in(x):"]
AROUND = ["{{ %s }}", "{%% if %s %%}", "%s"]


@cases(20)
@given(st.sampled_from(MARKS_THAT_NEST), st.integers(1, 8_000), st.sampled_from(AROUND))
def test_what_is_nested_deeply_is_rendered_or_refused(mark: str, times: int, around: str) -> None:
    _one(around % (f"{mark} " * times))
