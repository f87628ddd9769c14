"""Endpoints and pools back as the manifest that `monitor.config.manifest` reads: only what was not inherited is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
import yaml

from monitor.config.fields import ENDPOINT_FIELDS, POOL_FIELDS, Field
from monitor.config.kinds import SECRET_OPTIONS, kinds
from monitor.config.located import Node
from monitor.config.manifest import TIMEOUT_DEFAULT_MS
from monitor.config.policies import CONSECUTIVE, ENDPOINT_ALSO, POOL_ALSO, ROLES, format_choice
from monitor.core.durations import format_duration
from monitor.core.endpoint import OWNER_MANUAL, Endpoint, PolicyChoice, Pool
from monitor.core.secret import hide_values
from monitor.probes.base import Option

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_BUILT_IN = {field.name: field.default for field in msgspec.structs.fields(Endpoint)} | {"labels": {}, "depends_on": ()}
_POOL_BUILT_IN = {field.name: field.default for field in msgspec.structs.fields(Pool)}
_OPTION_NAMES = {"url": "URL", "labels": "--label"}


def export(endpoints: Iterable[Endpoint], pools: Iterable[Pool]) -> str:
    """Return the manifest which, applied, gives exactly these endpoints and pools."""
    by_name = {pool.name: pool for pool in pools}
    in_order = sorted(endpoints, key=lambda endpoint: endpoint.id)
    owners = {pool.owner for pool in by_name.values()} | {endpoint.owner for endpoint in in_order}
    owner = owners.pop() if len(owners) == 1 else OWNER_MANUAL
    document: dict[str, Any] = {"owner": owner} if owner != OWNER_MANUAL else {}
    if by_name:
        document["pools"] = {name: pool_entry(by_name[name], owner) for name in sorted(by_name)}
    entries = [entry_of(endpoint, by_name.get(endpoint.pool), owner) for endpoint in in_order]
    document["endpoints"] = entries
    return str(yaml.dump(document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=1 << 16, default_flow_style=None))


def entry_of(endpoint: Endpoint, pool: Pool | None = None, owner: str = OWNER_MANUAL, *, flat: bool = False) -> dict[str, Any]:
    """Return what must be written of an endpoint, given what it inherits from its pool, in a file of this owner.

    With `flat` thresholds stand beside a policy, and not among its settings.
    """
    defaults = dict(pool.defaults) if pool else {}
    inherited_options = defaults.pop("options", {}).get(endpoint.kind, {})
    inherited = {**_BUILT_IN, "timeout_ms": min(TIMEOUT_DEFAULT_MS, endpoint.interval_ms), **defaults}
    entry: dict[str, Any] = {"id": endpoint.id, "url": endpoint.url}
    if endpoint.pool != endpoint.id:
        entry["pool"] = endpoint.pool
    if endpoint.owner != owner:
        entry["owner"] = endpoint.owner
    for key, field in ENDPOINT_FIELDS.items():
        value = getattr(endpoint, field.attribute)
        if key == "labels":
            value = _label_changes(value, inherited["labels"])
            if value:
                entry[key] = value
        elif value != _like(value, inherited[field.attribute]):
            entry[key] = field.format(value)
    for key, option in kinds()[endpoint.kind].options.items():
        value = endpoint.options.get(key, option.default)
        if value != inherited_options.get(key, option.default):
            entry[key] = _written(option, value)
    return entry | _policies(endpoint, {} if flat else ENDPOINT_ALSO, entry)


def _policies(holder: Endpoint | Pool, also: Mapping[str, Field], entry: dict[str, Any]) -> dict[str, Any]:
    """The policies of an endpoint or a pool; what `entry` has of their settings goes into them."""
    if holder.active is None and holder.passive is None:
        return {}
    nested = {}
    if holder.active is not None and holder.active.kind == CONSECUTIVE:
        nested = {name: entry.pop(field.key) for name, field in also.items() if field.key in entry}
    formatted = {"active": format_choice(holder.active, nested), "passive": format_choice(holder.passive)}
    return {role: choice for role, choice in formatted.items() if choice is not None}


def _written(option: Option, value: Any) -> Any:
    """The option's normal form as text that parses to it: a whole number may mean milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            option.parse(str(value))
        except ValueError:
            return format_duration(value)
    return value


def _like(value: Any, inherited: Any) -> Any:
    """An inherited list comes back from the store as a list where the endpoint has a tuple."""
    return tuple(inherited) if isinstance(value, tuple) else inherited


def _label_changes(labels: Mapping[str, str], inherited: Mapping[str, str | None]) -> dict[str, str | None]:
    changes: dict[str, str | None] = {key: value for key, value in labels.items() if inherited.get(key) != value}
    return changes | {key: None for key, value in inherited.items() if value is not None and key not in labels}


def pool_entry(pool: Pool, owner: str = OWNER_MANUAL) -> dict[str, Any]:
    """Return what must be written of a pool in a file of this owner: its own settings, then its members' defaults."""
    entry: dict[str, Any] = {"owner": pool.owner} if pool.owner != owner else {}
    for key, field in POOL_FIELDS.items():
        value = getattr(pool, field.attribute)
        if value != _POOL_BUILT_IN[field.attribute]:
            entry[key] = field.format(value)
    entry |= _member_defaults(pool)
    return entry | _policies(pool, ENDPOINT_ALSO | POOL_ALSO, entry)


def _member_defaults(pool: Pool, *, secrets: bool = True) -> dict[str, Any]:
    """What members inherit, as it is written; without `secrets` their values are hidden."""
    entry = {
        key: field.format(pool.defaults[field.attribute]) for key, field in ENDPOINT_FIELDS.items() if field.attribute in pool.defaults
    }
    for kind, options in pool.defaults.get("options", {}).items():
        for key, value in options.items():
            hidden = key in SECRET_OPTIONS and not secrets
            entry[key] = hide_values(value) if hidden else _written(kinds()[kind].options[key], value)
    return entry


def pool_shown(pool: Pool) -> dict[str, Any]:
    """Return every setting of a pool and what its members inherit, secrets hidden."""
    return {**pool_settings(pool), **_member_defaults(pool, secrets=False)}


def pool_settings(pool: Pool) -> dict[str, Any]:
    """Return every setting of the pool itself, as a listing shows it."""
    policies = {role.key: format_choice(getattr(pool, role.key) or PolicyChoice(role.default)) for role in ROLES.values()}
    return {**{key: field.format(getattr(pool, field.attribute)) for key, field in POOL_FIELDS.items()}, **policies, "owner": pool.owner}


def shown(endpoint: Endpoint) -> dict[str, Any]:
    """Return every setting of an endpoint as a listing shows it: nothing inherited, secrets hidden."""
    entry: dict[str, Any] = {"id": endpoint.id, "url": endpoint.url, "pool": endpoint.pool, "kind": endpoint.kind, "owner": endpoint.owner}
    entry.update((key, field.format(getattr(endpoint, field.attribute))) for key, field in ENDPOINT_FIELDS.items())
    entry.update((role, format_choice(getattr(endpoint, role))) for role in ROLES)
    for key, option in kinds()[endpoint.kind].options.items():
        if key in endpoint.options:
            entry[key] = hide_values(endpoint.options[key]) if key in SECRET_OPTIONS else _written(option, endpoint.options[key])
    return entry


def as_node(value: Any, source: str) -> Node:
    """Return plain values as if they had been read at `source`, so that one reader serves files and options."""
    if isinstance(value, Mapping):
        return Node({str(key): as_node(item, source) for key, item in value.items()}, source, 0)
    if isinstance(value, list | tuple):
        return Node([as_node(item, source) for item in value], source, 0)
    if isinstance(value, bool):
        return Node("true" if value else "false", source, 0)
    return Node(None if value is None else str(value), source, 0)


def entry_node(entry: Mapping[str, Any], given: Collection[str]) -> Node:
    """Return the document of one endpoint. Keys in `given` came from options of the command line and are named so in refusals."""
    fields = {
        key: as_node(value, _OPTION_NAMES.get(key, f"--{key.replace('_', '-')}") if key in given else "endpoint")
        for key, value in entry.items()
    }
    return Node({"endpoints": Node([Node(fields, "endpoint", 0)], "endpoint", 0)}, "endpoint", 0)
