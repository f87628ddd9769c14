"""`active` and `passive` as people write them: the policy that judges, and those of its settings that they choose.

A mapping `{kind: envoy, interval_ms: 5s}`; without settings of its own the kind alone; on the command line `envoy,interval_ms=5s`. The
names, types and ranges are those of each policy's own table (core/policies/options). Thresholds and cooldown of an active `consecutive`
are settings of the endpoint and of its pool also by themselves: they are kept there, in one place, however they are written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from monitor.config.fields import ENDPOINT_FIELDS, POOL_FIELDS, Field, text_of, truth
from monitor.config.located import Node
from monitor.core.durations import format_duration, parse_duration
from monitor.core.endpoint import Endpoint, PolicyChoice, Pool
from monitor.core.errors import did_you_mean
from monitor.core.policies import POLICIES
from monitor.core.policies.choice import ACTIVE_DEFAULT, NONE, PASSIVE_DEFAULT
from monitor.core.policies.options import PolicySetting, SettingError, read_settings, table

CONSECUTIVE: Final = "consecutive"
ENDPOINT_ALSO: Final = {key: ENDPOINT_FIELDS[key] for key in ("failure_threshold", "success_threshold")}
POOL_ALSO: Final = {"cooldown_ms": POOL_FIELDS["open"], "cooldown_max_ms": POOL_FIELDS["open_max"]}
"""Settings of an active `consecutive` that an endpoint, or a pool, has by itself."""

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_ONE_LINE = re.compile(r"[^,=]+(,[^,=]+=[^,=]*)*")

Refuse = Callable[[str, str, str, str, str], None]
"""Takes place, key, the value seen, why it is refused, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Role:
    """`active` or `passive`: the key, the kind that is built in, the kinds that may be written, and what it means."""

    key: str
    default: str
    kinds: tuple[str, ...]
    help: str
    example: str


ROLES: Final[Mapping[str, Role]] = {
    role.key: role
    for role in (
        Role(
            "active",
            ACTIVE_DEFAULT,
            tuple(POLICIES),
            "Policy that judges probes, with its settings; empty: the pool's.",
            "consecutive,failure_threshold=5",
        ),
        Role(
            "passive",
            PASSIVE_DEFAULT,
            (*POLICIES, NONE),
            "Policy that judges what consumers report, with its settings; none switches it off, empty: the pool's.",
            "cusum,false_ejections_per_day=0.1",
        ),
    )
}


@dataclass(slots=True)
class Written:
    """A choice as one place writes it (None: that of the pool is to be taken), and where it and each of its settings stand."""

    choice: PolicyChoice | None
    node: Node
    places: dict[str, Node] = field(default_factory=dict)


def read_choice(role: Role, node: Node, refuse: Refuse) -> Written | None:
    """What is written at `node`; None after at least one refusal."""
    entry = _from_line(node) if isinstance(node.value, str) else node.value
    if not isinstance(entry, dict):
        refuse(node.where, role.key, node.seen, "a policy is a mapping", f"write for example {{kind: {role.default}}}")
        return None
    if "kind" not in entry:
        refuse(node.where, role.key, node.seen, "the policy has no kind", f"write `kind:` and one of {', '.join(role.kinds)}")
        return None
    kind = _kind(role, entry["kind"], refuse)
    if kind is None:
        return None
    places = {name: child for name, child in entry.items() if name != "kind"}
    settings: dict[str, Any] = {}
    refused = False
    for name, child in places.items():
        try:
            settings[name] = _setting(kind, name, child)
        except SettingError as error:
            seen = "" if name not in _rows(kind) else child.seen
            refuse(child.where if seen else node.key_where(name), f"{role.key}.{name}", seen, error.why, error.hint)
            refused = True
    return None if refused else Written(PolicyChoice(kind, settings), node, places)


def _from_line(node: Node) -> dict[str, Node] | None:
    """`envoy,interval_ms=5s` as a mapping; None where it is none."""
    text = str(node.value)
    if not _ONE_LINE.fullmatch(text) or len(text) > 4_096:
        return {"kind": node}
    kind, *settings = text.split(",")
    pairs = [setting.partition("=")[::2] for setting in settings]
    named = {name.strip(): Node(value.strip(), node.source, node.line) for name, value in pairs}
    return {"kind": Node(kind.strip(), node.source, node.line), **named}


def line_names(text: str) -> set[str]:
    """The settings that a choice on the command line names."""
    return {setting.partition("=")[0].strip() for setting in text.split(",")[1:]}


def _kind(role: Role, node: Node, refuse: Refuse, key: str = "") -> str | None:
    if isinstance(node.value, str) and node.value in role.kinds:
        return node.value
    if node.value == NONE:
        why = "probes are always judged"
        hint = "`watchkeeper breaker close ID` keeps an endpoint in traffic whatever its probes show"
    else:
        why = "there is no such policy"
        choices = f"write one of {', '.join(role.kinds)}"
        hint = did_you_mean(node.value, role.kinds, choices) if isinstance(node.value, str) else choices
    refuse(node.where, key or role.key, node.seen, why, hint)
    return None


def _rows(kind: str) -> Mapping[str, PolicySetting]:
    if kind == NONE:
        return {}
    settings: type[msgspec.Struct] = POLICIES[kind].settings
    return table(settings)


def _setting(kind: str, name: str, node: Node) -> Any:
    """The value in its type. Raises SettingError."""
    row = _rows(kind).get(name)
    if row is None and kind == NONE:
        raise SettingError(name, "", "a policy that is switched off has no settings", "take it out")
    if row is None:
        hint = did_you_mean(name, _rows(kind), f"its settings are {', '.join(_rows(kind))}")
        raise SettingError(name, "", f"{kind} has no such setting", hint)
    try:
        value = _value(row, text_of(node.value))
    except ValueError as error:
        why, _, hint = str(error).partition("; ")
        raise SettingError(name, node.seen, why, f"write {allowed(row)}" if row.name.endswith("_ms") or not hint else hint) from None
    try:
        return getattr(read_settings(POLICIES[kind].settings, {name: value}), name)
    except SettingError as error:
        raise SettingError(name, node.seen, error.why, f"write {allowed(row)}") from None


def allowed(row: PolicySetting) -> str:
    """What may be written, for people: of a time as durations."""
    if not row.name.endswith("_ms"):
        return row.allowed
    return f"{format_duration(int(row.limits.low))} to {format_duration(int(row.limits.high))}, or as many whole milliseconds"


def _value(row: PolicySetting, text: str) -> Any:
    if row.type is bool:
        return truth(text)
    if row.type is str:
        return text
    if row.name.endswith("_ms") and not _NUMBER.fullmatch(text):
        return parse_duration(text)
    if row.type is int and _WHOLE.fullmatch(text):
        return int(text)
    if row.type is float and _NUMBER.fullmatch(text):
        return float(text)
    raise ValueError(f"it is not {'a whole number' if row.type is int else 'a number'}; write {allowed(row)}")


def pool_kind(pool: Node, policies: dict[str, Written], refuse: Refuse) -> None:
    """Read the key `policy` of a pool, the older form of `active` without settings."""
    node = pool.value.get("policy") if isinstance(pool.value, dict) else None
    if node is None:
        return
    role = ROLES["active"]
    kind = _kind(role, node, refuse, "policy")
    known = policies.get(role.key)
    if kind is not None and known is not None and known.choice is not None and known.choice.kind != kind:
        refuse(node.where, "policy", node.seen, f"`active` of another kind stands beside it: {known.choice.kind}", "take `policy` out")
    elif kind is not None:
        policies.setdefault(role.key, Written(PolicyChoice(kind), node))


def take_own(written: Written | None, also: Mapping[str, Field], values: dict[str, Any], places: dict[str, Node], refuse: Refuse) -> None:
    """Move settings of an active `consecutive` to the place that an endpoint or a pool has for them by itself."""
    if written is None or written.choice is None or written.choice.kind != CONSECUTIVE:
        return
    settings = dict(written.choice.settings)
    for name, flat in also.items():
        if name not in settings:
            continue
        value, node = settings.pop(name), written.places[name]
        if values.get(flat.attribute, value) != value:
            why = f"`{flat.key}: {flat.format(values[flat.attribute])}` stands beside it, which means the same"
            refuse(node.where, f"active.{name}", node.seen, why, "write it once")
        values[flat.attribute] = value
        places.setdefault(flat.attribute, node)
    written.choice = PolicyChoice(CONSECUTIVE, settings)


def merged(defaults: Written | None, pool: PolicyChoice | None, own: Written | None) -> PolicyChoice | None:
    """What an endpoint says that its pool does not: its own, over what the file's `defaults` say and the pool does not."""
    if own is not None and own.choice is None:
        return None
    first = defaults.choice if defaults else None
    choice = own.choice if own else first
    if choice is None:
        return None
    if pool is not None and pool.kind != choice.kind:
        return own.choice if own else None
    inherited = first.settings if first is not None and first.kind == choice.kind else {}
    given = pool.settings if pool else {}
    settings = {name: value for name, value in inherited.items() if name not in given}
    settings |= own.choice.settings if own and own.choice else {}
    return PolicyChoice(choice.kind, settings) if own or settings or pool is None else None


def place_of(error: SettingError, written: Sequence[Written]) -> Node | None:
    """Where the setting stands that contradicts others, else one that it contradicts, else the policy; the nearest place first."""
    found = [one.places[error.name] for one in written if error.name in one.places]
    found += [node for one in written for name, node in one.places.items() if name in error.why]
    return next(iter([*found, *(one.node for one in written)]), None)


def format_choice(choice: PolicyChoice | None, more: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The mapping that is read back as the same choice; `more` are settings that are kept elsewhere."""
    if choice is None:
        return None
    return {"kind": choice.kind, **(more or {}), **{name: format_setting(name, value) for name, value in choice.settings.items()}}


def format_setting(name: str, value: Any) -> Any:
    """A setting as it is written: a time as a duration."""
    return format_duration(value) if name.endswith("_ms") and isinstance(value, int) else value


def format_line(choice: PolicyChoice) -> str:
    """The same on one line, as options take it."""
    kind, *settings = (format_choice(choice) or {}).items()
    return ",".join([str(kind[1]), *(f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in settings)])


def member_of(pool: Pool) -> Endpoint:
    """A member that has only what the pool gives it."""
    thresholds = {flat.attribute: pool.defaults[flat.attribute] for flat in ENDPOINT_ALSO.values() if flat.attribute in pool.defaults}
    return Endpoint(id=pool.name, url="", pool=pool.name, **thresholds)
