"""A policy's settings: one class each, whose annotated fields are the table that manifests, replay, commands and the reference read.

class Settings(msgspec.Struct, frozen=True, kw_only=True):
    request_volume_threshold: Annotated[int, Limits(1, 1_000_000, "Fewer calls … trip nothing.", "Hystrix requestVolumeThreshold")] = 20
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar, get_args, get_type_hints

import msgspec

from monitor.core.errors import did_you_mean
from monitor.core.texts import shorten

TIME_MAX_MS: Final = 86_400_000
"""The longest time that a policy's setting may say: a day."""
_KINDS: Final = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}

S = TypeVar("S", bound=msgspec.Struct)


class Limits(msgspec.Struct, frozen=True):
    """What a setting may be, beside its type and default: between `low` and `high` (numbers), or one of `choices` (words)."""

    low: float
    high: float
    help: str
    source: str
    """Where the rule comes from."""
    choices: tuple[str, ...] = ()


class PolicySetting(msgspec.Struct, frozen=True):
    """One row of a policy's table. A name that ends in `_ms` is a time in milliseconds. A `default` of None: it follows from others."""

    name: str
    type: type
    default: Any
    limits: Limits

    @property
    def allowed(self) -> str:
        """What may be written, for people."""
        if self.limits.choices:
            return "one of " + ", ".join(self.limits.choices)
        kind = _KINDS[self.type]
        return kind if self.type is bool else f"{kind} from {self.limits.low:.15g} to {self.limits.high:.15g}"


class SettingError(ValueError):
    """A setting that is none, or out of range. `name` is the setting's, `seen` what was written, `why` and `hint` are for people."""

    def __init__(self, name: str, seen: str, why: str, hint: str) -> None:
        super().__init__(f"{name}: {why} (seen: {seen}); {hint}" if seen else f"{name}: {why}; {hint}")
        self.name = name
        self.seen = seen
        self.why = why
        self.hint = hint


@cache
def table(settings: type[msgspec.Struct]) -> dict[str, PolicySetting]:
    """The rows of a policy's settings by name, in their order."""
    hints = get_type_hints(settings, include_extras=True)
    rows = {}
    for field in msgspec.structs.fields(settings):
        kind, limits = get_args(hints[field.name])[:2]
        of_union = [one for one in get_args(kind) if one is not type(None)]
        rows[field.name] = PolicySetting(field.name, of_union[0] if of_union else kind, field.default, limits)
    return rows


def read_settings(settings: type[S], given: Mapping[str, object]) -> S:
    """The settings from what was written by name. Raises SettingError for the first that is unknown, of another type or out of range."""
    rows = table(settings)
    return settings(**{name: _read(rows, name, value) for name, value in given.items()})


def _read(rows: Mapping[str, PolicySetting], name: str, value: object) -> Any:
    row = rows.get(name)
    if row is None:
        hint = did_you_mean(name, rows, f"its settings are {', '.join(rows)}")
        raise SettingError(name, shorten(repr(value)), "there is no such setting", hint)
    if value is None and row.default is None:
        return None
    fits = isinstance(value, row.type) or (row.type is float and isinstance(value, int))
    if not fits or (row.type is not bool and isinstance(value, bool)):
        raise SettingError(name, shorten(repr(value)), f"it is not {_KINDS[row.type]}", f"write {row.allowed}")
    if row.limits.choices:
        if value not in row.limits.choices:
            raise SettingError(name, shorten(repr(value)), "there is no such choice", f"write {row.allowed}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and not row.limits.low <= value <= row.limits.high:
        raise SettingError(name, shorten(repr(value)), "it is out of range", f"write {row.allowed}")
    return float(value) if row.type is float and isinstance(value, int) else value
