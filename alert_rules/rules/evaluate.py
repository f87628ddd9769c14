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
from alert_rules.rules.facts import Facts, Scope, scope_of
from alert_rules.rules.memory import ASSERT_EVERY_MS, FOLLOW_MS, Ended, Memory, waits, without_step
from alert_rules.rules.rule import ANNOTATION_LENGTH_MAX, Rule, RuleSet, explain
from alert_rules.rules.template import render
from monitor.core.durations import DAY_MS
from monitor.core.record import Record
from monitor.core.tilt import judging_ms

PAUSED = "paused"
RULE_GONE = "its rule is no more"
RELABELLED = "it goes on under other labels"


class OperatorsWord(msgspec.Struct, frozen=True):
    """What operators say of a subject: who said what and why, and the facts as they would be if nobody had."""

    text: str
    unsaid: Facts


class Evaluation(msgspec.Struct, frozen=True):
    """What the rules say of one subject now.

    `memory` is the same object where nothing has to be written. `errors` are expressions that failed, which counts as false.
    """

    memory: Memory
    ended: tuple[Ended, ...] = ()
    """The alerts that fired before and do so no more."""
    changed: bool = False
    """Whether other alerts fire than before."""
    asserts: bool = False
    """Whether the memory is to be asserted with this commit: other alerts fire, or it is time for the next assertion."""
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
    word: OperatorsWord | None = None,
    tilted: bool = False,
) -> Evaluation:
    """Decide what the rules say of one subject.

    `old_facts` are those that `memory` was decided on; None evaluates every rule. So does a memory of another `version`: that of
    the rules with what else decides (the endpoint's labels), the rules' own where none is given. An alert that would go on if operators
    had not said their `word` ends by it. While `tilted` neither a `for` nor a `keep_firing_for` passes, and after a step of
    time both go on from where they were.
    """
    version = version or rules.version
    known = old_facts if memory.version == version else None
    scoped = rules.scoped[scope_of(new_facts)]
    if known is not None and not memory.states and scoped.pick(known) == scoped.pick(new_facts):
        return Evaluation(memory)
    now_ms = judging_ms(now_ms, memory.judged_ms)
    run = _Run(subject_labels, known, new_facts, now_ms, word=word, last=old_facts)
    states = run.over(scoped.rules, without_step(memory, now_ms, tilted=tilted).states)
    firing = [state for state in states if state.status is AlertStatus.FIRING]
    before = {(state.rule, state.fired_at_ms) for state in memory.firing}
    changed = bool(run.ended) or any((state.rule, state.fired_at_ms) not in before for state in firing)
    asserts = changed or (bool(firing) and not 0 <= now_ms - memory.asserted_ms < ASSERT_EVERY_MS)
    asserted_ms = memory.asserted_ms if firing else 0
    if asserts and firing:
        states, asserted_ms = run.retold(scoped.rules, states), now_ms
    elif run.follows:
        asserted_ms = min(asserted_ms, now_ms + FOLLOW_MS - ASSERT_EVERY_MS)
    judged_ms = now_ms if any(map(waits, states)) else 0
    after = Memory(states=states, version=version, asserted_ms=asserted_ms, judged_ms=judged_ms)
    if firing:
        run.wakes.append(asserted_ms + ASSERT_EVERY_MS)
    wake_ms = min(run.wakes, default=0)
    return Evaluation(memory if after == memory else after, tuple(run.ended), changed, asserts, wake_ms, tuple(run.errors))


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


class _Run:
    """One evaluation."""

    __slots__ = ("ended", "errors", "follows", "last", "new", "now_ms", "old", "states", "subject_labels", "wakes", "word")

    def __init__(
        self,
        subject_labels: Mapping[str, str],
        old: Facts | None,
        new: Facts,
        now_ms: int,
        *,
        word: OperatorsWord | None,
        last: Facts | None,
    ) -> None:
        self.subject_labels = subject_labels
        self.old = old
        self.new = new
        self.now_ms = now_ms
        self.word = word
        self.last = last
        """The facts before, also where they were held against other rules."""
        self.follows = False
        """Whether an alert that goes on would tell something else than it told."""
        self.states: list[AlertState] = []
        self.ended: list[Ended] = []
        self.wakes: list[int] = []
        self.errors: list[str] = []

    def over(self, rules: tuple[Rule, ...], states: tuple[AlertState, ...]) -> tuple[AlertState, ...]:
        remembered = {state.rule: state for state in states}
        outdated = self.new.get("outdated", False)
        for rule in rules:
            state = remembered.pop(rule.key, None)
            if outdated and rule.from_probes:
                if state is not None:
                    self._end(rule, state, "" if state.false_since_ms else self.word.text if self.word else PAUSED)
                continue
            unchanged = self.old is not None and rule.same(self.old, self.new)
            if state is None:
                if not unchanged and self._truth(rule, self.new):
                    self._begin(rule, rule.labels_of(self.subject_labels, self.new))
                continue
            truth = state.false_since_ms == 0 if unchanged else self._truth(rule, self.new)
            labels = rule.labels_of(self.subject_labels, self.new)
            if labels == state.labels:
                self._go_on(rule, state, truth)
            else:  # With other labels it is another alert: the old one ends.
                self._end(rule, state, RELABELLED if truth else self._by_word(rule))
                if truth:
                    self._begin(rule, labels)
        for state in remembered.values():
            self._end(None, state, RULE_GONE)
        return tuple(self.states)

    def retold(self, rules: tuple[Rule, ...], states: tuple[AlertState, ...]) -> tuple[AlertState, ...]:
        """The states with what their alerts tell now; one that lingers tells what was last so."""
        by_key = {rule.key: rule for rule in rules}
        return tuple(
            self._telling(by_key[state.rule], state, self.new)
            if state.status is AlertStatus.FIRING and not state.false_since_ms and state.fired_at_ms != self.now_ms
            else state
            for state in states
        )

    def _truth(self, rule: Rule, facts: Facts) -> bool:
        try:
            return rule.holds(facts)
        except Exception as error:  # CEL raises what its operators meet: LookupError, ArithmeticError, TypeError, RuntimeError.
            self.errors.append(f"rule {rule.name}: {explain(error)}")
            return False

    def _by_word(self, rule: Rule) -> str:
        """The operators' word that made a rule false, or "" where it is false for itself."""
        return self.word.text if self.word is not None and self._truth(rule, self.word.unsaid) else ""

    def _begin(self, rule: Rule, labels: dict[str, str]) -> None:
        state = AlertState(rule=rule.key, status=AlertStatus.PENDING, active_since_ms=self.now_ms, labels=labels)
        self._go_on(rule, state, truth=True)

    def _go_on(self, rule: Rule, state: AlertState, truth: bool) -> None:
        if state.status is AlertStatus.PENDING:
            if not truth:
                return
            fires_at_ms = state.active_since_ms + rule.for_ms
            if self.now_ms >= fires_at_ms:
                fired = msgspec.structs.replace(state, status=AlertStatus.FIRING, fired_at_ms=self.now_ms)
                self._keep(self._telling(rule, fired, self.new))
            else:
                self._keep(state, fires_at_ms)
        elif truth:
            self._keep(self._followed(rule, state))
        else:
            word = self._by_word(rule)
            ends_at_ms = (state.false_since_ms or self.now_ms) + (0 if word else rule.keep_firing_for_ms)
            if self.now_ms >= ends_at_ms:
                self._end(rule, state, word)
            else:
                self._keep(state if state.false_since_ms else self._lingering(rule, state), ends_at_ms)

    def _followed(self, rule: Rule, state: AlertState) -> AlertState:
        """A state that goes on. Where it is not known what was so before, it tells what is so now."""
        if state.false_since_ms:
            state = msgspec.structs.replace(state, false_since_ms=0)
        if self.old is not None:
            self.follows = self.follows or not rule.tells_same(self.old, self.new)
            return state
        told = self._telling(rule, state, self.new)
        self.follows = self.follows or told != state
        return told

    def _lingering(self, rule: Rule, state: AlertState) -> AlertState:
        return msgspec.structs.replace(self._last_told(rule, state), false_since_ms=self.now_ms)

    def _end(self, rule: Rule | None, state: AlertState, reason: str) -> None:
        if state.status is AlertStatus.FIRING:
            self.ended.append(Ended(self._last_told(rule, state), reason))

    def _last_told(self, rule: Rule | None, state: AlertState) -> AlertState:
        """What an alert whose condition holds no more told last: the facts before this evaluation, where they are known."""
        if rule is None or self.last is None or state.false_since_ms:
            return state
        return self._telling(rule, state, self.last)

    def _telling(self, rule: Rule, state: AlertState, facts: Facts) -> AlertState:
        value = rule.value_of(facts)
        context: dict[str, Any] = {**facts, "labels": state.labels, "value": value}
        annotations = {name: render(template, context, ANNOTATION_LENGTH_MAX) for name, template in rule.annotations.items()}
        return msgspec.structs.replace(state, annotations=annotations, value=value)

    def _keep(self, state: AlertState, wake_ms: int = 0) -> None:
        self.states.append(state)
        if wake_ms:
            self.wakes.append(wake_ms)
