"""Routes: which receivers hear of an alert, and in which group (rules R1 to R8, B7). The file is read in routing_file.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from alert_rules.routes.matcher import Matcher, labels_text, matches_all

GROUP_WAIT_MS = 30_000
GROUP_INTERVAL_MS = 300_000
REPEAT_INTERVAL_MS = 4 * 3_600_000


class Integration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way to reach a receiver. `key` is its place in the notification log: `<receiver>/<kind>/<index>`.

    `url` may be a reference (`env:NAME`, `file:PATH`); what it stands for is read when a message is sent.
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


@dataclass(frozen=True, slots=True)
class Receiver:
    name: str
    integrations: tuple[Integration, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A node of the tree, with everything it inherits filled in.

    `id` is its path in the tree with the place among its siblings, so that no two routes share a group or a log entry (B7).
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
        """The routes that take an alert, in the order of the tree (R1)."""
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
        yield self
        for child in self.children:
            yield from child.walk()


class Routing:
    """A routing file: the tree and the receivers. `warnings` are for people; they change nothing."""

    __slots__ = ("_routes", "receivers", "root", "warnings")

    def __init__(self, root: Route, receivers: Mapping[str, Receiver], warnings: tuple[str, ...] = ()) -> None:
        self.root = root
        self.receivers = receivers
        self.warnings = warnings
        self._routes = {route.id: route for route in root.walk()}

    def match(self, labels: Mapping[str, str]) -> list[Route]:
        return self.root.match(labels)

    def route(self, route_id: str) -> Route | None:
        """The route of a group; None when the file no longer has it."""
        return self._routes.get(route_id)

    def integrations(self, receiver: str) -> tuple[Integration, ...]:
        found = self.receivers.get(receiver)
        return found.integrations if found else ()

    def integration(self, key: str) -> Integration | None:
        """The integration of a delivery; None when the file no longer has it."""
        return next((one for one in self.integrations(key.rsplit("/", 2)[0]) if one.key == key), None)


def group_labels(route: Route, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that an alert's group shares; those that the alert lacks are simply absent (R6)."""
    names = sorted(labels) if route.group_by is None else route.group_by
    return {name: labels[name] for name in names if name in labels}


def group_key(route: Route, labels: Mapping[str, str]) -> str:
    """The group of an alert in a route: `{}/{team="shop"}/0:{alertname="EndpointDown"}` (R7, B7)."""
    return f"{route.id}:{labels_text(group_labels(route, labels))}"


def default_routing() -> Routing:
    """Without a routing file alerts are printed, one message for each rule and pool."""
    integration = Integration(key="console/apprise/0", receiver="console", url="console:")
    root = Route(id="{}", receiver="console", group_by=("alertname", "pool"), group_wait_ms=5_000, group_interval_ms=30_000)
    return Routing(root, {"console": Receiver("console", (integration,))})
