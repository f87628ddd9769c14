"""Routes: which receivers hear of an alert, and in which group. The file is read in routing_file.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from alert_rules.routes.matcher import Matcher, labels_text, matches_all

GROUP_WAIT_MS = 30_000
GROUP_INTERVAL_MS = 300_000
REPEAT_INTERVAL_MS = 4 * 3_600_000
RESOLVE_TIMEOUT_MS = 300_000
"""How long an alert that nobody asserts goes on firing; never less, since what fires is asserted again within that time."""


class Integration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way to reach a receiver. `key` is its place in the file: `<receiver>/<kind>/<index>`.

    `url` may be a reference (`env:NAME`, `file:PATH`); what it stands for is read when a message is sent. That may be several
    services, and a service may have several recipients: then each of them is an integration of its own, made by `of_service`, and hears
    of each notification apart.
    `title` and `body` are sources of templates, empty for the default ones.
    """

    key: str
    receiver: str
    url: str = ""
    url_file: str = ""
    send_resolved: bool = True
    title: str = ""
    body: str = ""
    tag: str = ""
    receiver_labels: dict[str, str] = {}
    """Labels of the receiver, for templates."""
    service: str = ""
    """Eight hexadecimal digits that tell its service, or recipient, from others; empty where it is not known."""
    alone: bool = True
    """Whether it is the only service of its address."""
    whole: str = ""
    """The service that it is one recipient of, named alike; empty where the service is not told apart."""

    @property
    def log_key(self) -> str:
        """Its place in the notification log and in the outbox: `<key>`, or `<key>/<service>` where there are several."""
        return self.key if self.alone else f"{self.key}/{self.service}"

    @property
    def places(self) -> tuple[str, ...]:
        """Its log key, and those that its service has had as long as its recipients were not told apart."""
        return (self.log_key, self.key, f"{self.key}/{self.whole}") if self.whole else (self.log_key,)

    def of_service(self, service: str, *, alone: bool, whole: str = "") -> Integration:
        """The integration as it reaches one of its services, or one recipient of it."""
        return msgspec.structs.replace(self, service=service, alone=alone, whole=whole)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told: a name, where its messages go, and labels for its templates."""

    name: str
    integrations: tuple[Integration, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A node of the tree, with everything it inherits filled in.

    `id` is its path in the tree with the place among its siblings, so that no two routes share a group or a log entry.
    `group_by` None groups by all labels (`['...']`).
    """

    id: str
    receiver: str
    matchers: tuple[Matcher, ...] = ()
    proceed: bool = False
    """`continue` in the file: siblings after a match are tried too."""
    group_by: tuple[str, ...] | None = ()
    group_wait_ms: int = GROUP_WAIT_MS
    group_interval_ms: int = GROUP_INTERVAL_MS
    repeat_interval_ms: int = REPEAT_INTERVAL_MS
    labels: Mapping[str, str] = field(default_factory=dict)
    children: tuple[Route, ...] = ()

    def match(self, labels: Mapping[str, str]) -> list[Route]:
        """The routes that take an alert, in the order of the tree."""
        if not matches_all(self.matchers, labels):
            return []
        found: list[Route] = []
        for child in self.children:
            matched = child.match(labels)
            found += matched
            if matched and not child.proceed:
                break
        return found or [self]

    def walk(self) -> Iterator[Route]:
        """This route and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


class Routing:
    """A routing file: the tree and the receivers. `warnings` are for people; they change nothing."""

    __slots__ = ("_routes", "receivers", "resolve_timeout_ms", "root", "warnings")

    def __init__(
        self,
        root: Route,
        receivers: Mapping[str, Receiver],
        warnings: tuple[str, ...] = (),
        *,
        resolve_timeout_ms: int = RESOLVE_TIMEOUT_MS,
    ) -> None:
        self.root = root
        self.receivers = receivers
        self.warnings = warnings
        self.resolve_timeout_ms = resolve_timeout_ms
        self._routes = {route.id: route for route in root.walk()}

    def match(self, labels: Mapping[str, str]) -> list[Route]:
        """The routes that take an alert with these labels, in the order of the tree; never none."""
        return self.root.match(labels)

    def route(self, route_id: str) -> Route | None:
        """The route of a group; None when the file no longer has it."""
        return self._routes.get(route_id)

    def integrations(self, receiver: str) -> tuple[Integration, ...]:
        """Where a receiver's messages go; nothing for a receiver that the configuration does not have (any more)."""
        found = self.receivers.get(receiver)
        return found.integrations if found else ()

    def integration(self, receiver: str, key: str) -> Integration | None:
        """The integration of a delivery; None when the file no longer has it."""
        return next((one for one in self.integrations(receiver) if one.key == key), None)


def group_labels(route: Route, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that an alert's group shares; those that the alert lacks are simply absent."""
    names = sorted(labels) if route.group_by is None else route.group_by
    return {name: labels[name] for name in names if name in labels}


def group_key(route: Route, labels: Mapping[str, str]) -> str:
    """The group of an alert in a route: `{}/{team="shop"}/0:{alertname="EndpointDown"}`."""
    return f"{route.id}:{labels_text(group_labels(route, labels))}"


def default_routing() -> Routing:
    """Without a routing file alerts are printed, one message for each rule and pool."""
    integration = Integration(key="console/apprise/0", receiver="console", url="console:")
    root = Route(id="{}", receiver="console", group_by=("alertname", "pool"), group_wait_ms=5_000, group_interval_ms=30_000)
    return Routing(root, {"console": Receiver("console", (integration,))})
