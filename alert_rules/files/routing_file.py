"""The routing file: Alertmanager's shape, with receivers that speak through apprise.

Errors that Alertmanager has too carry its text; every one names file and line. What is known but not built is refused, never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from alert_rules.files.reader import Reader, nearest, read_yaml
from alert_rules.notify.message import always_fails
from alert_rules.routes.matcher import Matcher, MatcherError, Op, compile_anchored, matchers_text
from alert_rules.routes.matcher_text import parse_matchers
from alert_rules.routes.route import RESOLVE_TIMEOUT_MS, Integration, Receiver, Route, Routing
from alert_rules.rules.template import TemplateError
from monitor.config.located import Node, load_yaml
from monitor.core.secret import is_reference
from monitor.core.texts import shorten

_TOP = ("global", "route", "receivers")
_TOP_LATER = ("inhibit_rules", "templates", "time_intervals", "mute_time_intervals", "tracing", "event_recorder")
_ROUTE = (
    "receiver",
    "group_by",
    "match",
    "match_re",
    "matchers",
    "continue",
    "routes",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "labels",
)
_ROUTE_LATER = ("mute_time_intervals", "active_time_intervals")
_APPRISE = ("url", "url_file", "send_resolved", "title", "body", "tag")
_CLASSIC_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_APPRISE_URL = {
    "discord_configs": "discord://WEBHOOK_ID/WEBHOOK_TOKEN",
    "email_configs": "mailtos://USER:PASSWORD@HOST?to=ADDRESS",
    "incidentio_configs": "incidentio://TOKEN/SOURCE",
    "jira_configs": "jira://APIKEY",
    "mattermost_configs": "mmosts://HOST/TOKEN",
    "msteams_configs": "workflows://HOST/WORKFLOW/SIGNATURE",
    "msteamsv2_configs": "workflows://HOST/WORKFLOW/SIGNATURE",
    "opsgenie_configs": "opsgenie://APIKEY",
    "pagerduty_configs": "pagerduty://INTEGRATION_KEY@API_KEY",
    "pushover_configs": "pover://USER@TOKEN",
    "rocketchat_configs": "rockets://WEBHOOK@HOST",
    "slack_configs": "slack://TOKEN_A/TOKEN_B/TOKEN_C",
    "sns_configs": "sns://KEY/SECRET/REGION/TOPIC",
    "telegram_configs": "tgram://BOT_TOKEN/CHAT_ID",
    "victorops_configs": "splunk://ROUTING_KEY@API_KEY",
    "webex_configs": "wxteams://TOKEN",
    "webhook_configs": "jsons://HOST/PATH",
    "wechat_configs": "wecombot://KEY",
}


def load_routing(path: str | Path) -> Routing:
    """Read a routing file. Raises ConfigError with every problem found."""
    return _RoutingReader(read_yaml(Path(path))).routing()


def parse_routing(text: str, source: str = "alerting.yml") -> Routing:
    """As `load_routing`, of a text; `source` names it in messages."""
    return _RoutingReader(load_yaml(text, source)).routing()


class _RoutingReader(Reader):
    def __init__(self, top: Node) -> None:
        super().__init__()
        self.top = top
        self.warnings: list[str] = []
        self.receivers: dict[str, Receiver] = {}
        self.resolve_timeout_ms = RESOLVE_TIMEOUT_MS

    def routing(self) -> Routing:
        if self.top.value is None:
            self.refuse(self.top.where, "", "no route provided in config", "write `route: {receiver: NAME}`")
            self.done()
        top = self.mapping(self.top, "")
        self.known(self.top, "", _TOP, _TOP_LATER)
        if "global" in top:
            self.globals(top["global"])
        for node in self.sequence(top.get("receivers"), "receivers"):
            self.receiver(node)
        root = self.route(top["route"], None, 0) if "route" in top and top["route"].value is not None else None
        if root is None and not self.problems:
            self.refuse(self.top.where, "route", "no routes provided", "write `route: {receiver: NAME}`")
        self.done()
        assert root is not None  # noqa: S101 - a missing root was refused.
        return Routing(root, self.receivers, tuple(self.warnings), resolve_timeout_ms=self.resolve_timeout_ms)

    def known(self, node: Node, key: str, names: Sequence[str], later: Sequence[str] = ()) -> None:
        """Refuse keys that nobody knows, and those that are known but not built, unless they are empty."""
        for name, value in (node.value if isinstance(node.value, dict) else {}).items():
            path = f"{key}.{name}" if key else name
            if name in names:
                continue
            if name not in later:
                self.refuse(node.key_where(name), path, f"field {name} not found in type config.plain", nearest(name, names))
            elif value.value:
                self.refuse(node.key_where(name), path, f"{name} is not supported yet", "take it out for now")

    def globals(self, node: Node) -> None:
        entry = self.mapping(node, "global")
        for name in entry:
            if name != "resolve_timeout":
                why = f"{name} is not supported: apprise URLs carry all that a service needs"
                self.refuse(node.key_where(name), f"global.{name}", why, "take it out; write it into the receiver's `apprise_configs`")
        self.resolve_timeout_ms = self.duration(entry.get("resolve_timeout"), "global.resolve_timeout", RESOLVE_TIMEOUT_MS)
        if self.resolve_timeout_ms < RESOLVE_TIMEOUT_MS:
            why = "less than 5m: an alert that still fires is asserted again within that time, and would end and fire in turn"
            self.refuse(entry["resolve_timeout"].where, "global.resolve_timeout", why, "write 5m or more, or take it out")

    # Receivers ----------------------------------------------------------------------------------------------------

    def receiver(self, node: Node) -> None:
        entry = self.mapping(node, "receivers")
        name = self.text(entry.get("name"), "receivers.name")
        self.known(node, "receivers", ("name", "labels", "apprise_configs", *_APPRISE_URL))
        if not name:
            self.refuse(node.where, "receivers", "missing name in receiver", "write `name: NAME`")
        if name in self.receivers:
            self.refuse(entry["name"].where, "receivers.name", f'notification config name "{name}" is not unique', "rename one of them")
        labels = self.texts(entry.get("labels"), f"{name}.labels")
        if labels.get("name", name) != name:
            why = f'receiver label "name" must match receiver name "{name}", got "{labels["name"]}"'
            self.refuse(entry["labels"].where, f"{name}.labels.name", why)
        for block in _APPRISE_URL.keys() & entry.keys():
            hint = f"write `apprise_configs: [{{url: '{_APPRISE_URL[block]}'}}]`"
            self.refuse(node.key_where(block), f"{name}.{block}", f"{block} is not supported yet", hint)
        blocks = self.sequence(entry.get("apprise_configs"), f"{name}.apprise_configs")
        integrations = tuple(self.integration(block, name, place, labels) for place, block in enumerate(blocks))
        self.receivers[name] = Receiver(name, integrations, labels)

    def integration(self, node: Node, receiver: str, place: int, labels: dict[str, str]) -> Integration:
        key = f"{receiver}.apprise_configs"
        if node.value is None:
            self.refuse(node.where, key, "missing apprise config", "write `- url: SCHEME://...`")
        entry = self.mapping(node, key)
        self.known(node, key, _APPRISE)
        texts = {name: self.text(entry.get(name), f"{key}.{name}") for name in ("url", "url_file", "title", "body", "tag")}
        url = texts["url"]
        if bool(url) == bool(texts["url_file"]):
            self.refuse(node.where, key, "exactly one of url and url_file must be given", "write `url: SCHEME://...`")
        elif url and "://" not in url and url != "console:" and not is_reference(url):
            why = "this is no apprise URL"
            self.refuse(entry["url"].where, f"{key}.url", why, "write for example `mailtos://USER:PASSWORD@HOST?to=ADDRESS` or `env:NAME`")
        if texts["tag"] and url and not is_reference(url):
            why = "a tag chooses among the URLs of an apprise file, and this is one URL"
            self.refuse(entry["tag"].where, f"{key}.tag", why, "leave it out, or write `url: file:PATH` or `url_file: PATH`")
        for name in ("title", "body"):
            try:
                why = always_fails(texts[name])
            except TemplateError as error:
                why = str(error)
            if why:
                self.refuse(entry[name].where, f"{key}.{name}", why, "", shorten(texts[name]))
        send_resolved = self.boolean(entry.get("send_resolved"), f"{key}.send_resolved", default=True)
        return Integration(
            key=f"{receiver}/apprise/{place}",
            receiver=receiver,
            url=url,
            url_file=texts["url_file"],
            send_resolved=send_resolved,
            title=texts["title"],
            body=texts["body"],
            tag=texts["tag"],
            receiver_labels=labels,
        )

    # Routes -------------------------------------------------------------------------------------------------------

    def route(self, node: Node, parent: Route | None, place: int) -> Route:
        """Read a route; what it does not say it takes from its parent."""
        entry = self.mapping(node, "route")
        self.known(node, "route", _ROUTE if parent else _ROUTE + _ROUTE_LATER, _ROUTE_LATER)
        matchers = self.matchers(entry)
        if parent is None:
            self.root_rules(node, entry)
        base = parent or Route(id="{}", receiver="")
        receiver = self.text(entry.get("receiver"), "route.receiver", base.receiver)
        if receiver and receiver not in self.receivers:
            hint = nearest(receiver, self.receivers) if self.receivers else "write it under `receivers`"
            where = entry["receiver"].where if "receiver" in entry else node.where
            self.refuse(where, "route.receiver", f'undefined receiver "{receiver}" used in route', hint)
        settings = {
            name: self.duration(entry.get(name), f"route.{name}", getattr(base, f"{name}_ms"))
            for name in ("group_wait", "group_interval", "repeat_interval")
        }
        for name in ("group_interval", "repeat_interval"):
            if name in entry and settings[name] == 0:
                self.refuse(entry[name].where, f"route.{name}", f"{name} cannot be zero")
        route = Route(
            id=f"{base.id}/{matchers_text(matchers)}/{place}" if parent else "{}",
            receiver=receiver,
            matchers=matchers,
            proceed=self.boolean(entry.get("continue"), "route.continue", default=False),
            group_by=self.group_by(entry.get("group_by"), base.group_by),
            group_wait_ms=settings["group_wait"],
            group_interval_ms=settings["group_interval"],
            repeat_interval_ms=settings["repeat_interval"],
            labels={**base.labels, **self.texts(entry.get("labels"), "route.labels")},
        )
        children = enumerate(self.sequence(entry.get("routes"), "route.routes"))
        return replace(route, children=tuple(self.route(child, route, index) for index, child in children))

    def root_rules(self, node: Node, entry: Mapping[str, Node]) -> None:
        if not self.text(entry.get("receiver"), "route.receiver"):
            self.refuse(node.where, "route", "root route must specify a default receiver", "write `receiver: NAME`")
        said = {
            "match": "root route must not have any matchers",
            "match_re": "root route must not have any matchers",
            "matchers": "root route must not have any matchers",
            "continue": "cannot have continue in root route",
            "mute_time_intervals": "root route must not have any mute time intervals",
            "active_time_intervals": "root route must not have any active time intervals",
        }
        for name in said.keys() & entry.keys():
            if entry[name].value and entry[name].value != "false":
                self.refuse(node.key_where(name), f"route.{name}", said[name], "move it into a child under `routes`")

    def group_by(self, node: Node | None, inherited: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Absent inherits, `[]` is one group, `['...']` every label."""
        if node is None or node.value is None:
            return inherited
        names = [self.text(entry, "route.group_by") for entry in self.sequence(node, "route.group_by")]
        for name in {name for name in names if names.count(name) > 1}:
            self.refuse(node.where, "route.group_by", f'duplicated label "{name}" in group_by')
        if "..." in names and len(names) > 1:
            self.refuse(node.where, "route.group_by", "cannot have wildcard group_by (`...`) and other labels at the same time")
        return None if "..." in names else tuple(names)

    def matchers(self, entry: Mapping[str, Node]) -> tuple[Matcher, ...]:
        """`match`, `match_re` and `matchers` of one route must all match."""
        for kind in ("match", "match_re"):
            for name in self.texts(entry.get(kind), f"route.{kind}"):
                if not _CLASSIC_NAME.fullmatch(name):
                    self.refuse(entry[kind].key_where(name), f"route.{kind}.{name}", f'invalid label name "{name}"', "use `matchers`")
        found = [Matcher(name, Op.EQUAL, value) for name, value in self.texts(entry.get("match"), "route.match").items()]
        for name, value in self.texts(entry.get("match_re"), "route.match_re").items():
            try:
                compile_anchored(value)
                found.append(Matcher(name, Op.REGEX, f"^(?:{value})$"))
            except MatcherError as error:
                self.refuse(entry["match_re"].key_where(name), f"route.match_re.{name}", str(error), "", shorten(value))
        for line in self.sequence(entry.get("matchers"), "route.matchers"):
            try:
                parsed = parse_matchers(self.text(line, "route.matchers"))
            except MatcherError as error:
                self.refuse(line.where, "route.matchers", str(error), "", line.seen)
                continue
            found += parsed.matchers
            if parsed.warning:
                self.warnings.append(f"{line.where}: route.matchers: {parsed.warning}")
        return tuple(found)
