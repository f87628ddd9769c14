"""Rules as people write them: Prometheus' rule files, with CEL for `expr` and Jinja2 for annotations."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Template

from alert_rules.files.reader import Reader, nearest, read_yaml_files
from alert_rules.routes.matcher import labels_text
from alert_rules.rules.cel import compile_expression
from alert_rules.rules.cel_cost import CelError, Reading
from alert_rules.rules.comparisons import impossible
from alert_rules.rules.facts import VARIABLES, Scope
from alert_rules.rules.rule import Rule, RuleSet, explain
from alert_rules.rules.template import AnyText, TemplateError, compile_template, failure, names_of
from monitor.config.located import Node, load_yaml
from monitor.core.texts import shorten

PACKS = Path(__file__).parent.parent / "packs"
RULES_MAX = 1_000
RULES_STEPS_MAX = 500_000
"""Steps of all rules together, evaluated once: a tenth of a second, one or two at worst."""
SAMPLES_MAX = 512
"""Combinations of sample facts on which an expression is tried."""
TEMPLATE_SAMPLES_MAX = 24
"""Combinations of sample facts on which an annotation is tried, until it succeeds on one."""
TRIAL_STEPS_MAX = 20_000
"""An expression that takes many steps is tried on fewer samples."""

_OF_THE_DATA = re.compile(r"Function '\w+' error")
_STRIDE = 1_000_003
"""A prime: taken so far apart, all samples differ."""
_GROUP_KEYS = ("name", "rules")
_RULE_KEYS = ("alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OWN_LABELS = frozenset({"alertname", "endpoint", "pool"})


def load_rules(paths: Sequence[str | Path] = (), *, include_pack: bool = True) -> RuleSet:
    """Read rule files and folders of them.

    A user's rule takes the place of all shipped rules of the same name. Raises ConfigError with every problem found.
    """
    reader = Reader()
    own = parse_rules(read_yaml_files([Path(path) for path in paths]), reader)
    names = {rule.name for rule in own}
    pack = [rule for rule in parse_rules(read_yaml_files([PACKS]), reader) if rule.name not in names] if include_pack else []
    reader.done()
    return RuleSet((*pack, *own), _version([*pack, *own]))


def parse_rule_text(text: str, source: str = "rules.yml") -> RuleSet:
    """The rules of one text alone, without the shipped ones. Raises ConfigError."""
    reader = Reader()
    rules = parse_rules([load_yaml(text, source)], reader)
    reader.done()
    return RuleSet(tuple(rules), _version(rules))


def parse_rules(files: Sequence[Node], reader: Reader) -> list[Rule]:
    """Read the rules of located files; what cannot be used is told to the reader and left out."""
    rules: dict[str, Rule] = {}
    for node in files:
        for entry, group in _entries(node, reader):
            rule = _rule(entry, group, reader)
            if rule is None:
                continue
            if rule.key in rules:
                why = f"a rule {rule.name!r} with these labels was written before, at {rules[rule.key].where}"
                reader.refuse(rule.where, "alert", why, "give it another name or other labels")
            rules[rule.key] = rule
    if len(rules) > RULES_MAX:
        reader.refuse(files[0].where, "groups", f"there are more than {RULES_MAX} rules", "", str(len(rules)))
    steps = sum(rule.steps for rule in rules.values())
    if steps > RULES_STEPS_MAX:
        worst = max(rules.values(), key=lambda rule: rule.steps)
        why = f"the rules together could take {steps} steps, and at most {RULES_STEPS_MAX} are allowed; this one could take {worst.steps}"
        reader.refuse(worst.where, f"{worst.name}.expr", why, "loop over less")
    return list(rules.values())


def _entries(node: Node, reader: Reader) -> Iterator[tuple[Node, str]]:
    top = reader.mapping(node, "")
    _known(reader, node, ("groups",), "")
    for group in reader.sequence(top.get("groups"), "groups"):
        entry = reader.mapping(group, "groups")
        _known(reader, group, _GROUP_KEYS, "groups")
        name = reader.text(entry.get("name"), "groups.name")
        if not name:
            reader.refuse(group.where, "groups.name", "a group needs a name", "write `name: shop`")
        for rule in reader.sequence(entry.get("rules"), f"{name}.rules"):
            yield rule, name


def _known(reader: Reader, node: Node, keys: Sequence[str], key: str) -> None:
    hints = {
        "interval": "leave it out: rules are evaluated when their facts change",
        "record": "leave it out: rollups are kept without rules",
    }
    for seen in node.value if isinstance(node.value, dict) else ():
        if seen not in keys:
            hint = hints.get(seen) or nearest(seen, keys)
            reader.refuse(node.key_where(seen), ".".join(filter(None, (key, seen))), "this key is not known here", hint)


def _rule(node: Node, group: str, reader: Reader) -> Rule | None:
    before = len(reader.problems)
    entry = reader.mapping(node, f"{group}.rules")
    _known(reader, node, _RULE_KEYS, f"{group}.rules")
    name = reader.text(entry.get("alert"), "alert")
    if not name:
        reader.refuse(node.where, "alert", "a rule needs a name", "write `alert: ShopDown`")
    expr = entry.get("expr")
    if expr is None or not reader.text(expr, "expr").strip():
        reader.refuse(node.where, f"{name}.expr", "a rule needs an expression", "write for example `expr: failures >= 3`")
        return None
    compiled = _compile(expr, f"{name}.expr", reader)
    labels = _labels(entry.get("labels"), name, reader)
    durations = [reader.duration(entry.get(key), f"{name}.{key}", 0) for key in ("for", "keep_firing_for")]
    if compiled is None:
        return None
    scope, program, variables, steps = compiled
    annotations = _annotations(entry.get("annotations"), name, scope, reader)
    if len(reader.problems) > before:
        return None
    return Rule(
        key=name + labels_text(labels) if labels else name,
        name=name,
        scope=scope,
        expr=str(expr.value),
        program=program,
        variables=variables,
        steps=steps,
        for_ms=durations[0],
        keep_firing_for_ms=durations[1],
        labels=labels,
        annotations=annotations,
        annotation_names=frozenset().union(*map(names_of, reader.texts(entry.get("annotations"), "").values())),
        where=node.where,
    )


def _labels(node: Node | None, name: str, reader: Reader) -> dict[str, str]:
    labels = reader.texts(node, f"{name}.labels")
    for label, value in labels.items():
        where = node.key_where(label) if node else ""
        if label in _OWN_LABELS:
            reader.refuse(where, f"{name}.labels.{label}", "this label is always set by Watchkeeper", "use another name")
        elif not _LABEL_NAME.fullmatch(label):
            reader.refuse(where, f"{name}.labels.{label}", "this is no label name", "use letters, digits and `_`")
        if "{{" in value:
            why = "labels are the alert's identity and cannot be templates"
            reader.refuse(where, f"{name}.labels.{label}", why, "move the text into an annotation", shorten(value))
    return labels


def _annotations(node: Node | None, name: str, scope: Scope, reader: Reader) -> dict[str, Template]:
    templates = {}
    for annotation, source in reader.texts(node, f"{name}.annotations").items():
        try:
            templates[annotation] = compile_template(source, {*VARIABLES[scope], "labels", "value"})
            why = failure(templates[annotation], _annotated(scope))
        except TemplateError as error:
            why = str(error)
        if why:
            reader.refuse(node.key_where(annotation) if node else "", f"{name}.annotations.{annotation}", why, "", shorten(source))
    return templates


def _annotated(scope: Scope) -> Iterator[dict[str, Any]]:
    """What annotations are tried on: facts of all kinds, with the labels that they look up and without."""
    for facts in _samples(scope, list(VARIABLES[scope]), TEMPLATE_SAMPLES_MAX):
        labels: dict[str, str]
        for labels in (AnyText(), {}):
            yield {**facts, "labels": labels, "value": "value"}


def _compile(node: Node, key: str, reader: Reader) -> tuple[Scope, Any, tuple[str, ...], int] | None:
    text = str(node.value)
    try:
        program, read = compile_expression(text)
    except CelError as error:
        reader.refuse(node.where, key, str(error), "", shorten(text))
        return None
    variables = tuple(sorted(read.names))
    scope = _scope(node, key, variables, reader)
    if scope is None:
        return None
    never = list(impossible(text, VARIABLES[scope]))
    for why_never, hint in never:
        reader.refuse(node.where, key, why_never, hint, shorten(text))
    if never:
        return None
    why, missed = _trial(program, scope, read)
    for label in sorted(read.unasked | missed):
        why_missed = f"labels.{label} fails for an endpoint without this label, and the expression is false for it"
        hint = f'ask `"{label}" in labels &&` first, or `!("{label}" in labels) ||`'
        reader.refuse(node.where, key, why_missed, hint, shorten(text))
    if why and not (read.unasked or missed):
        reader.refuse(node.where, key, why, "", shorten(text))
    return None if why or read.unasked or missed else (scope, program, variables, read.steps)


def _scope(node: Node, key: str, variables: Sequence[str], reader: Reader) -> Scope | None:
    """Whom the variables speak of; `pool` alone says nothing of it."""
    telling = [variable for variable in variables if variable != "pool"]
    scopes = {_scope_of_name(variable): variable for variable in telling}
    if len(scopes) > 1:
        seen = ", ".join(f"{variable} ({scope})" for scope, variable in sorted(scopes.items()))
        reader.refuse(
            node.where, key, "one rule speaks of an endpoint, of a pool or of the system, not of several", "write two rules", seen
        )
        return None
    scope = next(iter(scopes), Scope.ENDPOINT)
    for variable in variables:
        if variable not in VARIABLES[scope]:
            every = [name for table in VARIABLES.values() for name in table]
            reader.refuse(node.where, key, f"there is no variable {variable!r}", nearest(variable, every), shorten(str(node.value)))
            return None
    return scope


def _scope_of_name(variable: str) -> Scope:
    if variable.startswith("pool_"):
        return Scope.POOL
    return Scope.SYSTEM if variable.startswith("system_") else Scope.ENDPOINT


def _samples(scope: Scope, variables: Sequence[str], count_max: int) -> Iterator[dict[str, Any]]:
    """Sample facts: each combination of the variables' samples, or so many of them from all over."""
    samples = {variable: VARIABLES[scope][variable].samples for variable in variables}
    combinations = math.prod(map(len, samples.values()))
    for number in range(min(combinations, count_max)):
        place = number if combinations <= count_max else number * _STRIDE % combinations
        facts = {}
        for variable, values in samples.items():
            place, which = divmod(place, len(values))
            facts[variable] = values[which]
        yield facts


def _trial(program: Any, scope: Scope, read: Reading) -> tuple[str, set[str]]:
    """Why the expression is of no use, as it is tried on sample facts, and the labels that were looked up where they were missing.

    A missing label, a division by zero or a text that is no number is due to the data, unless there is no sample without one.
    """
    failed, answered = "", False
    missed: set[str] = set()
    for facts in _samples(scope, sorted(read.names), max(1, min(SAMPLES_MAX, TRIAL_STEPS_MAX // read.steps))):
        if facts.get("labels"):
            facts["labels"] = facts["labels"] | dict.fromkeys(read.looked_up, "1")
        try:
            answer = program.execute(facts)
        except (LookupError, ArithmeticError) as error:
            failed = failed or explain(error)
            missed |= read.looked_up.intersection(map(str, error.args))
            continue
        except Exception as error:
            if not _OF_THE_DATA.match(str(error)):  # Whatever else CEL raises, the expression is wrong.
                return f"the expression fails: {explain(error)}", missed
            failed = failed or explain(error)
            continue
        answered = True
        if not isinstance(answer, bool):
            return f"the expression must be true or false, and is {shorten(str(answer))}", missed
    return "" if answered else f"the expression always fails: {failed}", missed


def _version(rules: Sequence[Rule]) -> str:
    def text(rule: Rule) -> Mapping[str, Any]:
        return {"key": rule.key, "expr": rule.expr, "for": rule.for_ms, "keep": rule.keep_firing_for_ms, "labels": dict(rule.labels)}

    return hashlib.sha256(json.dumps([text(rule) for rule in rules]).encode()).hexdigest()[:16]
