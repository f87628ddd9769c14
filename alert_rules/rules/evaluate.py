"""The evaluation of one subject's rules.

    inactive --true--> PENDING --`for` has passed--> FIRING --false, `keep_firing_for` has passed--> inactive
                          |
                          +--false--> inactive, silently

Prometheus' semantics, driven by changes: a rule is evaluated when a variable that it names has changed, when the rules have
changed, and at the times that `Evaluation.wake_ms` and `next_change_ms` ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from alert_rules.rules.alert import AlertState, AlertStatus
from alert_rules.rules.facts import DAY_MS, Facts, Scope, scope_of
from alert_rules.rules.memory import ASSERT_EVERY_MS, Memory, waits, without_step
from alert_rules.rules.rule import ANNOTATION_LENGTH_MAX, Rule, RuleSet, explain
from alert_rules.rules.template import render
from monitor.core.record import Record
from monitor.core.tilt import judging_ms


class Evaluation(msgspec.Struct, frozen=True):
    """What the rules say of one subject now.

    `memory` is the same object where nothing has to be written. `errors` are expressions that failed, which counts as false.
    """

    memory: Memory
    changed: bool = False
    """Whether other alerts fire than before, or one of them tells something else."""
    asserts: bool = False
    """Whether the memory is to be asserted with this commit: something changed, or the last assertion is ASSERT_EVERY_MS old."""
    wake_ms: int = 0
    """When to evaluate again without a change; 0: only when something changes."""
    errors: tuple[str, ...] = ()


def evaluate(  # noqa: PLR0917 - one decision about one subject has this many parts.
    rules: RuleSet,
    subject_labels: Mapping[str, str],
    old_facts: Facts | None,
    new_facts: Facts,
    memory: Memory,
    now_ms: int,
    *,
    version: str = "",
    tilted: bool = False,
) -> Evaluation:
    """Decide what the rules say of one subject.

    `old_facts` are those that `memory` was decided on; None evaluates every rule. So does a memory of another `version`: that of
    the rules with what else decides (the endpoint's labels), the rules' own where none is given. While `tilted` neither a `for` nor a
    `keep_firing_for` passes, and after a step of time both go on from where they were.
    """
    version = version or rules.version
    if memory.version != version:
        old_facts = None
    scoped = rules.scoped[scope_of(new_facts)]
    if old_facts is not None and not memory.states and scoped.pick(old_facts) == scoped.pick(new_facts):
        return Evaluation(memory)
    now_ms = judging_ms(now_ms, memory.judged_ms)
    run = _Run(subject_labels, old_facts, new_facts, now_ms)
    states = run.over(scoped.rules, without_step(memory, now_ms, tilted=tilted).states)
    judged_ms = now_ms if any(map(waits, states)) else 0
    after = Memory(states=states, version=version, asserted_ms=memory.asserted_ms, judged_ms=judged_ms)
    firing = after.firing
    changed = _told(memory.firing) != _told(firing)
    asserts = changed or (bool(firing) and not 0 <= now_ms - memory.asserted_ms < ASSERT_EVERY_MS)
    if asserts or not firing:
        after = msgspec.structs.replace(after, asserted_ms=now_ms if firing else 0)
    if firing:
        run.wakes.append(after.asserted_ms + ASSERT_EVERY_MS)
    return Evaluation(memory if after == memory else after, changed, asserts, min(run.wakes, default=0), tuple(run.errors))


def next_change_ms(rules: RuleSet, record: Record, now_ms: int) -> int:
    """When a variable that some rule names changes by time alone, without a result; 0 where none does.

    That is `certificate_days`, which falls by one at each day before the certificate's end. (`no_data` also does; its time is
    that of the endpoint's silence, which the caller knows.)
    """
    expires_ms = record.probes.last.certificate_not_after_ms
    if not expires_ms or "certificate_days" not in rules.scoped[Scope.ENDPOINT].names:
        return 0
    days = (expires_ms - now_ms) // DAY_MS
    return expires_ms - days * DAY_MS + 1


def _told(firing: tuple[AlertState, ...]) -> list[AlertState]:
    return [msgspec.structs.replace(state, false_since_ms=0) if state.false_since_ms else state for state in firing]


class _Run:
    """One evaluation."""

    __slots__ = ("errors", "new", "now_ms", "old", "states", "subject_labels", "wakes")

    def __init__(self, subject_labels: Mapping[str, str], old: Facts | None, new: Facts, now_ms: int) -> None:
        self.subject_labels = subject_labels
        self.old = old
        self.new = new
        self.now_ms = now_ms
        self.states: list[AlertState] = []
        self.wakes: list[int] = []
        self.errors: list[str] = []

    def over(self, rules: tuple[Rule, ...], states: tuple[AlertState, ...]) -> tuple[AlertState, ...]:
        remembered = {state.rule: state for state in states}
        for rule in rules:
            state = remembered.get(rule.key)
            unchanged = self.old is not None and rule.same(self.old, self.new)
            if state is None:
                if not unchanged and self._truth(rule):
                    self._begin(rule, rule.labels_of(self.subject_labels, self.new))
                continue
            truth = state.false_since_ms == 0 if unchanged else self._truth(rule)
            labels = rule.labels_of(self.subject_labels, self.new)
            if labels == state.labels:
                self._go_on(rule, state, truth)
            elif truth:  # With other labels it is another alert: the old one ends.
                self._begin(rule, labels)
        return tuple(self.states)

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
                self.states.append(self._fire(rule, state))
            else:
                self._keep(state, fires_at_ms)
        elif truth:
            self._keep(msgspec.structs.replace(state, false_since_ms=0) if state.false_since_ms else state)
        else:
            since_ms = state.false_since_ms or self.now_ms
            ends_at_ms = since_ms + rule.keep_firing_for_ms
            if self.now_ms < ends_at_ms:
                self._keep(msgspec.structs.replace(state, false_since_ms=since_ms), ends_at_ms)

    def _fire(self, rule: Rule, state: AlertState) -> AlertState:
        value = rule.value_of(self.new)
        context: dict[str, Any] = {**self.new, "labels": state.labels, "value": value}
        annotations = {name: render(template, context, ANNOTATION_LENGTH_MAX) for name, template in rule.annotations.items()}
        return msgspec.structs.replace(state, status=AlertStatus.FIRING, fired_at_ms=self.now_ms, annotations=annotations, value=value)

    def _keep(self, state: AlertState, wake_ms: int = 0) -> None:
        self.states.append(state)
        if wake_ms:
            self.wakes.append(wake_ms)
