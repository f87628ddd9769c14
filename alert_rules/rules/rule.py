"""Rules: when does a fact become an alert?

    inactive --true--> PENDING --`for` has passed--> FIRING --false, `keep_firing_for` has passed--> resolved
                          |
                          +--false--> inactive, silently

Prometheus' semantics, driven by changes: a rule is looked at when a variable that it names has changed, when the rules have
changed, and at the times that `Evaluation.wake_ms` asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec
from jinja2 import Template

from alert_rules.rules.alert import Alert, AlertState, AlertStatus, fingerprint
from alert_rules.rules.facts import Facts, Scope, scope_of
from alert_rules.rules.template import cut, render

ANNOTATION_LENGTH_MAX = 2_000
VALUE_LENGTH_MAX = 300
IDENTITY = ("endpoint", "pool")


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule, compiled. `key` is its name, made unique among the rules of the same name."""

    key: str
    name: str
    scope: Scope
    expr: str
    program: Any
    variables: tuple[str, ...]
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, Template] = field(default_factory=dict)
    where: str = ""
    watched: Callable[[Facts], Any] = field(init=False)
    """Picks the values of `variables`, to be compared at once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "watched", _picker(self.variables))

    def same(self, old: Facts, new: Facts) -> bool:
        return bool(self.watched(old) == self.watched(new))

    def holds(self, facts: Facts) -> bool:
        """Whether the expression is true. Raises whatever CEL raises, ArithmeticError and LookupError among them."""
        return self.program.execute({name: facts[name] for name in self.variables}) is True

    def labels_of(self, subject_labels: Mapping[str, str], facts: Facts) -> dict[str, str]:
        """The alert's labels: the rule's beat the subject's; alertname, endpoint and pool beat both. Empty ones are dropped."""
        labels = {"severity": "warning", **subject_labels, **self.labels, "alertname": self.name}
        labels.update((name, facts[name]) for name in IDENTITY if name in facts)
        return {name: value for name, value in labels.items() if value}

    def value_of(self, facts: Facts) -> str:
        return cut(", ".join(f"{name} = {facts[name]}" for name in self.variables), VALUE_LENGTH_MAX)


class Scoped:
    """The rules that speak of one kind of subject, and the variables that any of them names."""

    __slots__ = ("names", "rules", "watched")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self.names = frozenset(name for rule in rules for name in rule.variables)
        self.watched = _picker(sorted(self.names))


class RuleSet:
    """All rules. `version` changes with whatever decides; a record that another version has looked at is looked at anew."""

    __slots__ = ("rules", "scoped", "version")

    def __init__(self, rules: tuple[Rule, ...], version: str) -> None:
        self.rules = rules
        self.version = version
        self.scoped = {scope: Scoped(tuple(rule for rule in rules if rule.scope is scope)) for scope in Scope}


class Evaluation(msgspec.Struct, frozen=True):
    """`events` are alerts that began to fire or ended; `wake_ms` is when to look again without a change, or 0."""

    states: tuple[AlertState, ...] = ()
    events: tuple[Alert, ...] = ()
    wake_ms: int = 0
    errors: tuple[str, ...] = ()


NOTHING = Evaluation()


def evaluate(  # noqa: PLR0917 - one decision about one subject has this many parts.
    rules: RuleSet,
    subject_labels: Mapping[str, str],
    old_facts: Facts | None,
    new_facts: Facts,
    states: tuple[AlertState, ...],
    now_ms: int,
) -> Evaluation:
    """Decide what the rules say of one subject.

    `old_facts` are those that `states` were decided on; None lets every rule look (a new subject, or new rules).
    An expression that fails counts as false, and is told in `errors`.
    """
    scoped = rules.scoped[scope_of(new_facts)]
    if old_facts is not None and not states and scoped.watched(old_facts) == scoped.watched(new_facts):
        return NOTHING
    return _Look(subject_labels, old_facts, new_facts, now_ms).at(scoped.rules, states)


def resolve(states: tuple[AlertState, ...], now_ms: int) -> tuple[Alert, ...]:
    """The events that end every firing alert of a subject that is gone."""
    return tuple(_event(state, now_ms, ends_at_ms=now_ms) for state in states if state.status is AlertStatus.FIRING)


class _Look:
    """One evaluation under way."""

    __slots__ = ("errors", "events", "new", "now_ms", "old", "states", "subject_labels", "wakes")

    def __init__(self, subject_labels: Mapping[str, str], old: Facts | None, new: Facts, now_ms: int) -> None:
        self.subject_labels = subject_labels
        self.old = old
        self.new = new
        self.now_ms = now_ms
        self.states: list[AlertState] = []
        self.events: list[Alert] = []
        self.wakes: list[int] = []
        self.errors: list[str] = []

    def at(self, rules: tuple[Rule, ...], states: tuple[AlertState, ...]) -> Evaluation:
        remembered = {state.rule: state for state in states}
        for rule in rules:
            state = remembered.pop(rule.key, None)
            unchanged = self.old is not None and rule.same(self.old, self.new)
            if state is None:
                if not unchanged and self._truth(rule):
                    self._begin(rule, rule.labels_of(self.subject_labels, self.new))
                continue
            truth = state.false_since_ms == 0 if unchanged else self._truth(rule)
            labels = rule.labels_of(self.subject_labels, self.new)
            if labels == state.labels:
                self._go_on(rule, state, truth)
                continue
            self._end(state)
            if truth:
                self._begin(rule, labels)
        for state in remembered.values():
            self._end(state)
        return Evaluation(tuple(self.states), tuple(self.events), min(self.wakes, default=0), tuple(self.errors))

    def _truth(self, rule: Rule) -> bool:
        try:
            return rule.holds(self.new)
        except Exception as error:  # CEL raises what its operators meet: LookupError, ArithmeticError, TypeError, RuntimeError.
            self.errors.append(f"rule {rule.name}: {explain(error)}")
            return False

    def _begin(self, rule: Rule, labels: dict[str, str]) -> None:
        state = AlertState(rule=rule.key, status=AlertStatus.PENDING, active_since_ms=self.now_ms, labels=labels)
        self._go_on(rule, state, truth=True)

    def _go_on(self, rule: Rule, state: AlertState, truth: bool) -> None:
        if state.status is AlertStatus.PENDING:
            if not truth:
                return
            fires_at_ms = state.active_since_ms + rule.for_ms
            if self.now_ms >= fires_at_ms:
                self._fire(rule, state)
            else:
                self._keep(state, fires_at_ms)
        elif truth:
            self._keep(msgspec.structs.replace(state, false_since_ms=0) if state.false_since_ms else state)
        else:
            since_ms = state.false_since_ms or self.now_ms
            ends_at_ms = since_ms + rule.keep_firing_for_ms
            if self.now_ms >= ends_at_ms:
                self._end(state)
            else:
                self._keep(msgspec.structs.replace(state, false_since_ms=since_ms), ends_at_ms)

    def _fire(self, rule: Rule, state: AlertState) -> None:
        value = rule.value_of(self.new)
        context = {**self.new, "labels": state.labels, "value": value}
        annotations = {name: render(template, context, ANNOTATION_LENGTH_MAX) for name, template in rule.annotations.items()}
        firing = msgspec.structs.replace(state, status=AlertStatus.FIRING, fired_at_ms=self.now_ms, annotations=annotations, value=value)
        self._keep(firing)
        self.events.append(_event(firing, self.now_ms))

    def _keep(self, state: AlertState, wake_ms: int = 0) -> None:
        self.states.append(state)
        if wake_ms:
            self.wakes.append(wake_ms)

    def _end(self, state: AlertState) -> None:
        self.events += resolve((state,), self.now_ms)


def _event(state: AlertState, now_ms: int, ends_at_ms: int = 0) -> Alert:
    return Alert(
        labels=state.labels,
        annotations=state.annotations,
        starts_at_ms=state.fired_at_ms,
        ends_at_ms=ends_at_ms,
        updated_ms=now_ms,
        fingerprint=fingerprint(state.labels),
        value=state.value,
    )


def explain(error: Exception) -> str:
    """An error of CEL in words of the person who wrote the rule."""
    if isinstance(error, KeyError):
        key = str(error.args[0]) if error.args else ""
        return f'there is no {key!r} here; ask `"{key}" in labels &&` first'
    return cut(" ".join(str(error).split()), VALUE_LENGTH_MAX)


def _picker(names: Sequence[str]) -> Callable[[Facts], Any]:
    return itemgetter(*names) if names else lambda _: None
