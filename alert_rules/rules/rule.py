"""Rules as they were compiled: their expressions, labels and templates. They are evaluated in evaluate.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from jinja2 import Template

from alert_rules.rules.facts import COUNTED, FROM_PROBES, VARIABLES, Facts, Scope
from monitor.core.texts import cut

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
    steps: int = 1
    """At most so much does one evaluation cost."""
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, Template] = field(default_factory=dict)
    annotation_names: frozenset[str] = frozenset()
    """Variables that the annotations name."""
    where: str = ""
    from_probes: bool = field(init=False)
    """Whether it speaks of what only probes tell, so that it is silent while the endpoint is outdated."""
    watched: tuple[str, ...] = field(init=False)
    """Variables whose change may change what it decides."""
    pick: Callable[[Facts], Any] = field(init=False)
    """Picks the values of `watched`, to be compared at once."""
    pick_told: Callable[[Facts], Any] = field(init=False)
    """Picks what its alert tells, without what may change with every probe."""

    def __post_init__(self) -> None:
        names = frozenset(self.variables)
        from_probes = self.scope is Scope.ENDPOINT and "outdated" not in names and not FROM_PROBES.isdisjoint(names)
        told = (names | self.annotation_names) & VARIABLES[self.scope].keys() - COUNTED - {"labels"}
        object.__setattr__(self, "from_probes", from_probes)
        object.__setattr__(self, "watched", (*self.variables, "outdated") if from_probes else self.variables)
        object.__setattr__(self, "pick", _picker(self.watched))
        object.__setattr__(self, "pick_told", _picker(sorted(told)))

    def same(self, old: Facts, new: Facts) -> bool:
        """Whether nothing that the rule watches differs between two readings of the facts."""
        return bool(self.pick(old) == self.pick(new))

    def tells_same(self, old: Facts, new: Facts) -> bool:
        """Whether its alert would tell the same of two readings of the facts, but for what may change with every probe."""
        return bool(self.pick_told(old) == self.pick_told(new))

    def holds(self, facts: Facts) -> bool:
        """Whether the expression is true. Raises whatever CEL raises, ArithmeticError and LookupError among them."""
        return self.program.execute({name: facts[name] for name in self.variables}) is True

    def labels_of(self, subject_labels: Mapping[str, str], facts: Facts) -> dict[str, str]:
        """The alert's labels: the rule's beat the subject's; alertname, endpoint and pool beat both. Empty ones are dropped."""
        labels = {"severity": "warning", **subject_labels, **self.labels, "alertname": self.name}
        labels.update((name, facts[name]) for name in IDENTITY if name in facts)
        return {name: value for name, value in labels.items() if value}

    def value_of(self, facts: Facts) -> str:
        """The values of the variables that the rule names, for people; an empty text says nothing."""
        return cut(", ".join(f"{name} = {facts[name]}" for name in self.variables if facts[name] != ""), VALUE_LENGTH_MAX)


class Scoped:
    """The rules that speak of one kind of subject, and the variables that any of them names."""

    __slots__ = ("names", "pick", "rules")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self.names = frozenset(name for rule in rules for name in rule.watched)
        self.pick = _picker(sorted(self.names))


class RuleSet:
    """All rules. `version` changes with whatever decides; what another version has evaluated is evaluated anew."""

    __slots__ = ("rules", "scoped", "version")

    def __init__(self, rules: tuple[Rule, ...], version: str) -> None:
        self.rules = rules
        self.version = version
        self.scoped = {scope: Scoped(tuple(rule for rule in rules if rule.scope is scope)) for scope in Scope}


def explain(error: Exception) -> str:
    """An error of CEL in words of the person who wrote the rule."""
    if isinstance(error, KeyError):
        key = str(error.args[0]) if error.args else ""
        return f'there is no {key!r} here; ask `"{key}" in labels &&` first'
    return cut(" ".join(str(error).split()), VALUE_LENGTH_MAX)


def _picker(names: Sequence[str]) -> Callable[[Facts], Any]:
    return itemgetter(*names) if names else lambda _: None
