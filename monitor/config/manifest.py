"""Manifests: endpoints and pools as people write them in YAML, and back.

A setting is taken from the endpoint, else from its pool, else from the file's `defaults`, else it is built in; labels are
merged name by name in that order. Nothing written after a label, or after an option that is off unless set, takes what would
be inherited away. `owner` of the file (`manual` where none is stated) is who registers what it writes; an endpoint or a pool may
state another. Everything is read before anything is refused, so that one run names every error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from monitor.config.fields import ENDPOINT_FIELDS, POOL_FIELDS, Parse, name
from monitor.config.kinds import SECRET_OPTIONS, Deny, Kind, check_secrets, option_kinds, parse_url
from monitor.config.located import Node, load_yaml
from monitor.config.policies import ENDPOINT_ALSO, POOL_ALSO, ROLES, Written, member_of, merged, place_of, pool_kind, read_choice, take_own
from monitor.core.endpoint import OWNER_MANUAL, Endpoint, Pool
from monitor.core.errors import ConfigError, Problem, did_you_mean
from monitor.core.policies.choice import contradictions
from monitor.core.secret import SECRET, hide_password
from monitor.core.texts import shorten

PROBLEMS_SHOWN_MAX = 50
TIMEOUT_DEFAULT_MS = 5_000

_ENTRY_KEYS = ("id", "url", "pool", "owner")
_POOL_KEYS = ("owner", "policy")
_FILE_KEYS = ("owner", "pools", "defaults", "endpoints")
_DEFAULTS = {struct_field.name: struct_field.default for struct_field in msgspec.structs.fields(Endpoint)}
_WHOLE: Mapping[str, type] = {"labels": dict, "depends_on": list}
"""Settings of many items, of which a refusal names one."""
_MISSING: Any = object()


class Manifest(msgspec.Struct, frozen=True):
    """What documents say, checked as a whole: endpoints with everything that they inherit, and pools by name."""

    endpoints: tuple[Endpoint, ...]
    pools: Mapping[str, Pool]
    owners: frozenset[str] = frozenset({OWNER_MANUAL})
    """Whose files these are."""


class Registered(msgspec.Struct, frozen=True):
    """What is registered already: parents and pools that a manifest may refer to without writing them."""

    endpoints: Mapping[str, Endpoint] = {}
    pools: Mapping[str, Pool] = {}


def load_sources(sources: Iterable[tuple[str, str]]) -> list[Node]:
    """Return the documents of (name, text) pairs; ConfigError names the errors of all of them."""
    roots: list[Node] = []
    problems: list[Problem] = []
    for source, text in sources:
        try:
            roots.append(load_yaml(text, source))
        except ConfigError as error:
            problems += error.problems
    _raise_for(problems)
    return roots


def read_manifest(
    roots: Sequence[Node],
    *,
    registered: Registered | None = None,
    deny: Deny | None = None,
    paused: Mapping[str, bool] | None = None,
    owner: str | None = None,
    prune: bool = False,
) -> Manifest:
    """Return the endpoints and pools of these documents together, normalised and valid.

    `paused` says by id what holds where nothing is written; without it the registered endpoints say so. `owner` (None: the one that
    each document states) registers what they write; with `prune` nothing that he registered and they do not write can be referred to.
    Raises ConfigError with every error, each with its place, key, value and hint (the first PROBLEMS_SHOWN_MAX, then their number).
    """
    registered = registered or Registered()
    if paused is None:
        paused = {endpoint.id: endpoint.paused for endpoint in registered.endpoints.values()}
    reader = _Reader(registered, deny, paused, missing=_missing(registered))
    files = [(root, reader.file(root), reader.owner(root, owner)) for root in roots]
    owners = frozenset(whose for _, _, whose in files)
    if prune:
        reader.registered = _without(registered, owners)
    for root, _, whose in files:
        reader.read_pools(root, whose)
    for root, defaults, whose in files:
        reader.read_endpoints(root, defaults, whose)
    reader.check_members()
    reader.check_parents()
    _raise_for(reader.problems)
    return Manifest(tuple(reader.endpoints.values()), reader.pools, owners)


def _missing(registered: Registered) -> set[tuple[str, str]]:
    """Endpoints with a parent that they name and that is registered no more, or cannot be read."""
    known = registered.endpoints
    return {(endpoint.id, parent) for endpoint in known.values() for parent in endpoint.depends_on if parent not in known}


def _without(registered: Registered, owners: Collection[str]) -> Registered:
    return Registered(
        {name: endpoint for name, endpoint in registered.endpoints.items() if endpoint.owner not in owners},
        {name: pool for name, pool in registered.pools.items() if pool.owner not in owners},
    )


def _raise_for(problems: Sequence[Problem]) -> None:
    if len(problems) > PROBLEMS_SHOWN_MAX:
        rest = Problem("", "", "", f"and {len(problems) - PROBLEMS_SHOWN_MAX} more errors", "fix these first")
        raise ConfigError([*problems[:PROBLEMS_SHOWN_MAX], rest])
    if problems:
        raise ConfigError(problems)


@dataclass(slots=True)
class _Layer:
    """Settings of one place: values by attribute, options by kind, where each was written, and the policies that judge."""

    where: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[str, Node] = field(default_factory=dict)
    policies: dict[str, Written] = field(default_factory=dict)


@dataclass(slots=True)
class _Reader:
    registered: Registered
    deny: Deny | None
    paused: Mapping[str, bool]
    missing: Collection[tuple[str, str]]
    """Endpoint and parent, of registered endpoints whose parent is missing already: that refuses no change of something else."""
    problems: list[Problem] = field(default_factory=list)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    """Endpoint id -> the mapping that it was read from."""
    pools: dict[str, Pool] = field(default_factory=dict)
    layers: dict[str, _Layer] = field(default_factory=dict)
    """Pool name -> its members' defaults."""

    def refuse(self, where: str, key: str, seen: str, why: str, hint: str) -> None:
        self.problems.append(Problem(where, key, seen, why, hint))

    # Files and pools ----------------------------------------------------------------------------------------------
    def file(self, root: Node) -> _Layer:
        """Check the document's shape and return its defaults."""
        if root.value is None:
            return _Layer()
        if not isinstance(root.value, dict):
            self.refuse(root.where, "", root.seen, "the file must be a mapping", "begin with `endpoints:`")
            return _Layer()
        for key in root.value:
            if key not in _FILE_KEYS:
                hint = did_you_mean(key, _FILE_KEYS, f"a file holds {', '.join(_FILE_KEYS)}")
                self.refuse(root.key_where(key), key, "", "there is no such key", hint)
        defaults = self._mapping(root, "defaults")
        return self._layer(defaults, None) if defaults else _Layer()

    def owner(self, root: Node, given: str | None) -> str:
        """Who registers what this document writes."""
        if given is not None:
            return self._owned({"owner": Node(given, "--owner", 0)}, OWNER_MANUAL)
        return self._owned(root.value, OWNER_MANUAL)

    def _owned(self, entry: Any, owner: str) -> str:
        """The owner that an entry states, or `owner`."""
        if not isinstance(entry, dict) or "owner" not in entry:
            return owner
        stated = self._parse(name, "owner", entry["owner"], "")
        return owner if stated is _MISSING else str(stated)

    def read_pools(self, root: Node, owner: str) -> None:
        pools = self._mapping(root, "pools")
        for pool_name, node in _items(pools):
            place = pools.key_where(pool_name) if pools else ""
            if self._parse(name, "pools", Node(pool_name, place, 0), "") is _MISSING:
                continue
            if pool_name in self.layers:
                self.refuse(place, pool_name, "", f"the pool is written twice, first at {self.layers[pool_name].where}", "keep one of them")
            elif node.value is not None and not isinstance(node.value, dict):
                self.refuse(node.where, pool_name, node.seen, "a pool's settings are a mapping", "write for example {failure_threshold: 3}")
            else:
                self._read_pool(pool_name, node, place, owner)

    def _read_pool(self, pool_name: str, node: Node, place: str, owner: str) -> None:
        own: dict[str, Any] = {}
        for key, child in _items(node):
            if setting := POOL_FIELDS.get(key):
                parsed = self._parse(setting.parse, key, child, setting.help)
                if parsed is not _MISSING:
                    own[setting.attribute] = parsed
        before = len(self.problems)
        layer = self._layer(node, None, skip=(*POOL_FIELDS, *_POOL_KEYS), of_pool=True)
        layer.where = place
        pool_kind(node, layer.policies, self.refuse)
        take_own(layer.policies.get("active"), POOL_ALSO, own, layer.places, self.refuse)
        defaults = {**layer.values, **({"options": layer.options} if layer.options else {})}
        own |= {role: written.choice for role, written in layer.policies.items()}
        pool = Pool(name=pool_name, defaults=defaults, owner=self._owned(node.value, owner), **own)
        self.pools[pool_name], self.layers[pool_name] = pool, layer
        if pool.open_ms > pool.open_max_ms:
            seen = f"open {pool.open_ms} ms, open_max {pool.open_max_ms} ms"
            self.refuse(place, "open", seen, "a breaker cannot stay open longer than its maximum", "raise open_max, or lower open")
        if 0 < pool.flapping_start_percent < pool.flapping_stop_percent:
            seen = f"start {pool.flapping_start_percent}, stop {pool.flapping_stop_percent}"
            why = "what begins to flap would stop at once: its start is below its stop"
            self.refuse(place, "flapping_start_percent", seen, why, "raise flapping_start_percent, or lower flapping_stop_percent")
        elif len(self.problems) == before:
            self._check_policies(member_of(pool), pool, (layer,), place, "")

    # Endpoints ----------------------------------------------------------------------------------------------------
    def read_endpoints(self, root: Node, defaults: _Layer, owner: str) -> None:
        entries = root.value.get("endpoints") if isinstance(root.value, dict) else None
        if entries is None or entries.value is None:
            return
        if not isinstance(entries.value, list):
            self.refuse(entries.where, "endpoints", entries.seen, "endpoints are a list", "write each with a dash: `- url: …`")
            return
        for node in entries.value:
            if not isinstance(node.value, dict):
                self.refuse(node.where, "endpoints", node.seen, "an endpoint is a mapping", "write for example {url: 'http://…'}")
            else:
                self._endpoint(node, node.value, defaults, owner)

    def _endpoint(self, node: Node, entry: Mapping[str, Node], defaults: _Layer, owner: str) -> None:
        before = len(self.problems)
        url, kind, id_default = self._url(node, entry.get("url"))
        endpoint_id = self._parse(name, "id", entry["id"], "") if "id" in entry else id_default
        pool = self._parse(name, "pool", entry["pool"], "") if "pool" in entry else endpoint_id
        owner = self._owned(entry, owner)
        layer = self._layer(node, kind, skip=_ENTRY_KEYS)
        if len(self.problems) > before or kind is None:
            self._remember(endpoint_id, node)
            return
        layers = (defaults, self._pool_layer(pool), layer)
        values, options = _merged(layers, kind)
        values |= {role: merged(defaults.policies.get(role), getattr(self._pool(pool), role), layer.policies.get(role)) for role in ROLES}
        self._check_times(layers, values, node)
        if not self._remember(endpoint_id, node):
            return
        values.setdefault("paused", self.paused.get(endpoint_id, False))
        endpoint = Endpoint(id=endpoint_id, url=url, pool=pool, kind=kind.name, owner=owner, options=options, **values)
        self._check_together(endpoint, kind, node, layers)
        if endpoint.active or endpoint.passive:
            self._check_policies(endpoint, self._pool(pool), layers, node.key_where("id"), f"{endpoint.id}: ")
        self.endpoints[endpoint_id] = endpoint

    def _check_together(self, endpoint: Endpoint, kind: Kind, node: Node, layers: Sequence[_Layer]) -> None:
        """Refuse settings that are right by themselves and contradict each other or the URL."""
        try:
            check_secrets(endpoint.options)
            kind.prober.validate(endpoint)
        except ValueError as error:
            why, _, hint = str(error).partition("; ")
            written = {key: place for layer in layers for key, place in layer.places.items()}
            key = next((key for key in written if key in why or key in hint), "url")
            seen = shorten(endpoint.url) if key == "url" else SECRET if key in SECRET_OPTIONS else written[key].seen
            place = written[key].where if key in written else node.key_where(key)
            self.refuse(place, key, seen, why if place.startswith(node.where) else f"{endpoint.id}: {why}", hint)

    def _remember(self, endpoint_id: Any, node: Node) -> bool:
        """Note where an id is written; False when it was written before."""
        if not isinstance(endpoint_id, str):
            return False
        first = self.nodes.setdefault(endpoint_id, node)
        if first is not node:
            where = node.key_where("id")
            self.refuse(
                where, "id", repr(endpoint_id), f"the id is used twice, first at {first.key_where('id')}", "give each endpoint its own `id`"
            )
        return first is node

    def _url(self, node: Node, url_node: Node | None) -> tuple[str, Kind | None, Any]:
        """The URL, its kind, and the id that it gives an endpoint without one."""
        if url_node is None:
            self.refuse(node.where, "url", "", "the endpoint has no url", "write for example `url: http://10.0.0.7:8080/health`")
            return "", None, _MISSING
        try:
            return parse_url(url_node.value, self.deny)
        except ValueError as error:
            why, _, hint = str(error).partition("; ")
            seen = shorten(hide_password(url_node.value)) if isinstance(url_node.value, str) else url_node.seen
            self.refuse(url_node.where, "url", seen, why, hint or "write for example http://10.0.0.7:8080/health")
            return "", None, _MISSING

    def _pool(self, name: str) -> Pool:
        return self.pools.get(name) or self.registered.pools.get(name) or Pool(name=name)

    def _check_policies(self, endpoint: Endpoint, pool: Pool, layers: Sequence[_Layer], where: str, whose: str) -> None:
        """Refuse settings of a policy that are right by themselves and contradict each other, at the last place that writes one of them."""
        for role, error in contradictions(endpoint, pool):
            node = place_of(error, [layer.policies[role] for layer in reversed(layers) if role in layer.policies])
            self.refuse(node.where if node else where, f"{role}.{error.name}", error.seen, f"{whose}{error.why}", error.hint)

    def check_members(self) -> None:
        """Refuse a pool's policies that contradict what registered members, which are not written, have of their own."""
        for endpoint in self.registered.endpoints.values():
            pool = self.pools.get(endpoint.pool)
            if pool and endpoint.id not in self.nodes and (endpoint.active or endpoint.passive):
                layer = self.layers[pool.name]
                self._check_policies(endpoint, pool, (layer,), layer.where, f"{endpoint.id}, which is registered: ")

    def _pool_layer(self, pool: str) -> _Layer:
        if pool not in self.layers:
            known = self.registered.pools.get(pool)
            values = dict(known.defaults) if known else {}
            options = values.pop("options", {})
            self.layers[pool] = _Layer(f"registered pool {pool}", values, options)
        return self.layers[pool]

    def _check_times(self, layers: Sequence[_Layer], values: dict[str, Any], node: Node) -> None:
        """Let the built-in timeout yield to a shorter interval; refuse written times that are longer than it."""
        interval_ms = values.get("interval_ms", _DEFAULTS["interval_ms"])
        values.setdefault("timeout_ms", min(TIMEOUT_DEFAULT_MS, interval_ms))
        for key in ("timeout", "fast_interval"):
            attribute = ENDPOINT_FIELDS[key].attribute
            if values.get(attribute, 0) > interval_ms:
                at = next((layer for layer in reversed(layers) if attribute in layer.values), _Layer(node.where))
                place = at.places[attribute].where if attribute in at.places else at.where
                form = ENDPOINT_FIELDS[key].format
                why = f"the {key} is longer than the interval of {form(interval_ms)} at {node.where}"
                self.refuse(place, key, form(values[attribute]), why, f"give that endpoint a {key} of at most {form(interval_ms)}")

    def check_parents(self) -> None:
        """Refuse parents that do not exist, unless they were missing before, and endpoints that depend on themselves by any way."""
        everything = {**self.registered.endpoints, **self.endpoints}
        known = everything.keys() | self.nodes.keys()
        for endpoint in self.endpoints.values():
            for parent in endpoint.depends_on:
                if parent not in known and (endpoint.id, parent) not in self.missing:
                    hint = did_you_mean(parent, known, "register it first, or in the same file")
                    self._refuse_parents(endpoint.id, repr(parent), "there is no endpoint of this id", hint)
        for cycle in _cycles({endpoint.id: endpoint.depends_on for endpoint in everything.values()}):
            written = [endpoint_id for endpoint_id in cycle if endpoint_id in self.endpoints]
            if written:
                seen = " -> ".join([*cycle, cycle[0]])
                self._refuse_parents(written[0], seen, "the endpoints depend on each other in a circle", "take one of these out")

    def _refuse_parents(self, endpoint_id: str, seen: str, why: str, hint: str) -> None:
        self.refuse(self.nodes[endpoint_id].key_where("depends_on"), "depends_on", seen, f"{endpoint_id}: {why}", hint)

    # Settings -----------------------------------------------------------------------------------------------------
    def _layer(self, node: Node, kind: Kind | None, *, skip: Collection[str] = (), of_pool: bool = False) -> _Layer:
        """Read the settings that endpoints have. `kind` None: of any kind (defaults, or a URL that was refused)."""
        layer = _Layer(node.where)
        for key, child in _items(node):
            if key in skip:
                continue
            if role := ROLES.get(key):
                written = Written(None, child) if child.value is None and kind else read_choice(role, child, self.refuse)
                if written is not None:
                    layer.policies[key] = written
                continue
            if setting := ENDPOINT_FIELDS.get(key):
                parsed = self._parse(setting.parse, key, child, setting.help, whole=_WHOLE.get(key, str))
                if parsed is not _MISSING:
                    layer.values[setting.attribute] = parsed
                    layer.places[setting.attribute] = child
                continue
            kinds = option_kinds(key) if kind is None else [kind] if key in kind.options else []
            for holder in kinds:
                option = holder.options[key]
                if child.value is None and option.default is None:
                    parsed = None
                else:
                    parsed = self._parse(
                        option.parse, key, child, option.help, secret=key in SECRET_OPTIONS, whole=list if option.repeatable else str
                    )
                if parsed is _MISSING:
                    break
                layer.options.setdefault(holder.name, {})[key] = parsed
                layer.places[key] = child
            if not kinds:
                self._unknown(node.key_where(key), key, kind, (*POOL_FIELDS, *_POOL_KEYS) if of_pool else skip)
        take_own(layer.policies.get("active"), ENDPOINT_ALSO, layer.values, layer.places, self.refuse)
        return layer

    def _unknown(self, where: str, key: str, kind: Kind | None, more: Collection[str]) -> None:
        others = option_kinds(key)
        known = [*ENDPOINT_FIELDS, *ROLES, *more, *(kind.options if kind else ())]
        if kind and others:
            why = f"{kind.name} endpoints have no such key"
            hint = f"it belongs to {', '.join(other.name for other in others)}"
        else:
            why = "there is no such key"
            hint = did_you_mean(key, known, "the keys are " + ", ".join(sorted(known)))
        self.refuse(where, key, "", why, hint)

    def _parse(self, parse: Parse, key: str, node: Node, help_text: str, *, secret: bool = False, whole: type = str) -> Any:
        """The normalised value, or _MISSING after noting why it is refused. Of what may be a `whole` list or mapping the parser names
        the item."""
        if node.value is None:
            self.refuse(node.where, key, "nothing", "there is no value", "write one, or take the key out")
            return _MISSING
        try:
            return parse(node.plain() if not isinstance(node.value, str) else node.value)
        except ValueError as error:
            why, _, hint = str(error).partition("; ")
            if secret:
                for text in _texts(node):
                    why = why.replace(shorten(text), SECRET)
            self.refuse(
                node.where, key, SECRET if secret else "" if whole is type(node.value) is not str else node.seen, why, hint or help_text
            )
            return _MISSING

    def _mapping(self, root: Node, key: str) -> Node | None:
        node = root.value.get(key) if isinstance(root.value, dict) else None
        if node is None or node.value is None:
            return None
        if not isinstance(node.value, dict):
            self.refuse(node.where, key, node.seen, f"{key} is a mapping", f"write `{key}:` and its keys below")
            return None
        return node


def _items(node: Node | None) -> Iterator[tuple[str, Node]]:
    if node is not None and isinstance(node.value, dict):
        yield from node.value.items()


def _texts(node: Node) -> Iterator[str]:
    """Every text inside, without the names of mappings."""
    if isinstance(node.value, str):
        yield node.value
    elif node.value is not None:
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            yield from _texts(child)


def _merged(layers: Sequence[_Layer], kind: Kind) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values and options of an endpoint, the last layer winning; options that are as built in are left out."""
    values: dict[str, Any] = {}
    labels: dict[str, str | None] = {}
    options: dict[str, Any] = {}
    for layer in layers:
        values.update(layer.values)
        labels.update(layer.values.get("labels", {}))
        options.update(layer.options.get(kind.name, {}))
    values["labels"] = {key: value for key, value in labels.items() if value is not None}
    values["depends_on"] = tuple(values.get("depends_on", ()))
    return values, {key: value for key, value in options.items() if value != kind.options[key].default}


def _cycles(parents: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Yield the circles among `parents`, each once; an endpoint already found in one is not looked at again."""
    done: set[str] = set()
    for start in parents:
        path: list[str] = []
        stack = [(start, iter(parents[start]))] if start not in done else []
        on_path = {start}
        path.append(start)
        while stack:
            node, rest = stack[-1]
            child = next((item for item in rest if item in parents and item not in done), None)
            if child is None:
                stack.pop()
                path.pop()
                on_path.discard(node)
                done.add(node)
            elif child in on_path:
                yield path[path.index(child) :]
            else:
                stack.append((child, iter(parents[child])))
                path.append(child)
                on_path.add(child)
