"""The same routing tree and the same alerts: the same groups of the same receivers as in a real Alertmanager."""

from __future__ import annotations

import copy
import random  # noqa: TID251 - trees and labels come from a seeded generator, so that a failure can be had again.
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from alert_rules.files.routing_file import parse_routing
from alert_rules.routes.group import group_of
from alert_rules.rules.alert import fingerprint
from monitor.clock import SystemClock
from tests.acceptance.peers.alertmanager import Alertmanager, stamp
from tests.acceptance.system import eventually

NAMES = ["alertname", "team", "zone", "job"]
VALUES = ["", "a", "b", "ab", "A", "a b", "ä", "a,b", 'say "a"', "a\\b", "a\nb", "{a}", "1"]
PATTERNS = ["", ".*", ".+", "a|b", "a.*", "[ab]+", "(?i)a", "^a$", "a$", "a.b", "\\w+", "(a|ä)", "\\d", "a?", "b{1,2}", "(?s)a.b", "a\\\\b"]
RECEIVERS = ["r0", "r1", "r2", "r3"]
TREES = 60
ALERTS = 60

Groups = Counter[tuple[str, frozenset[tuple[str, str]], frozenset[str]]]
"""How often there is a group with this receiver, these labels and these alerts."""


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Maker:
    """Random trees and alerts of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def labels(self) -> dict[str, str]:
        names = self.rng.sample(NAMES, self.rng.randint(1, len(NAMES)))
        return {name: self.rng.choice(VALUES[1:]) for name in names}

    def matcher(self) -> str:
        name, op = self.rng.choice([*NAMES, "absent"]), self.rng.choice(["=", "!=", "=~", "!~"])
        space = self.rng.choice(["", " "])
        return f"{name}{space}{op}{space}{quoted(self.rng.choice(PATTERNS if '~' in op else VALUES))}"

    def tree(self) -> dict[str, Any]:
        root = {"receiver": self.rng.choice(RECEIVERS), "routes": [self.route(0) for _ in range(self.rng.randint(1, 4))]}
        return {**root, **self.grouping()}

    def route(self, depth: int) -> dict[str, Any]:
        route: dict[str, Any] = self.grouping()
        if self.rng.random() < 0.7:
            texts = [self.matcher() for _ in range(self.rng.choice([1, 1, 2, 3]))]
            route["matchers"] = [", ".join(texts)] if self.rng.random() < 0.3 else texts
        if self.rng.random() < 0.2:
            route["match"] = {self.rng.choice(NAMES): self.rng.choice(VALUES)}
        if self.rng.random() < 0.2:
            route["match_re"] = {self.rng.choice(NAMES): self.rng.choice(PATTERNS)}
        if self.rng.random() < 0.6:
            route["receiver"] = self.rng.choice(RECEIVERS)
        if self.rng.random() < 0.4:
            route["continue"] = True
        if depth < 3 and self.rng.random() < 0.6:
            route["routes"] = [self.route(depth + 1) for _ in range(self.rng.randint(1, 3))]
        return route

    def grouping(self) -> dict[str, Any]:
        """An explicit empty list is left out: only newer Alertmanagers take it as the end of what is inherited."""
        chosen = self.rng.choice([None, None, ["..."], 1, 2])
        if isinstance(chosen, int):
            return {"group_by": self.rng.sample(NAMES, chosen)}
        return {"group_by": chosen} if chosen else {}


def configured(tree: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The tree as a whole file; nothing is sent before an hour has passed."""
    receiver = {"url": "http://127.0.0.1:9/"} if kind == "webhook_configs" else {"url": "json://127.0.0.1:9/"}
    return {
        "route": {**tree, "group_wait": "1h"},
        "receivers": [{"name": name, kind: [dict(receiver)]} for name in RECEIVERS],
    }


def our_groups(text: str, alerts: list[dict[str, str]]) -> Groups:
    routing = parse_routing(text)
    members: dict[str, set[str]] = {}
    metas = {}
    for labels in alerts:
        for route in routing.match(labels):
            meta = group_of(route, labels)
            metas[meta.key] = meta
            members.setdefault(meta.key, set()).add(fingerprint(labels))
    return Counter((metas[key].receiver, frozenset(metas[key].labels.items()), frozenset(found)) for key, found in members.items())


def their_groups(peer: Alertmanager) -> Groups:
    return Counter(
        (
            group["receiver"]["name"],
            frozenset(group["labels"].items()),
            frozenset(alert["fingerprint"] for alert in group["alerts"]),
        )
        for group in peer.groups()
    )


def differences(ours: Groups, theirs: Groups) -> str:
    lines = [f"only here:  {group}" for group in (ours - theirs).elements()]
    lines += [f"only there: {group}" for group in (theirs - ours).elements()]
    return "\n".join(lines)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_groups_of_the_same_alerts(alertmanager: Alertmanager, seed: int) -> None:
    maker = Maker(seed)
    alerts = list({fingerprint(labels): labels for labels in (maker.labels() for _ in range(ALERTS))}.values())
    now_ms = SystemClock().now_ms()
    alertmanager.post([{"labels": labels, "startsAt": stamp(now_ms), "endsAt": stamp(now_ms + 86_400_000)} for labels in alerts])
    assert {alert["fingerprint"]: alert["labels"] for alert in alertmanager.alerts()} == {fingerprint(one): one for one in alerts}
    for number in range(TREES):
        tree = maker.tree()
        text = yaml.safe_dump(configured(copy.deepcopy(tree), "apprise_configs"), allow_unicode=True)
        ours = our_groups(text, alerts)
        alertmanager.load(configured(copy.deepcopy(tree), "webhook_configs"))

        def same(ours: Groups = ours, about: str = f"seed {seed}, tree {number}:\n{text}") -> bool:
            found = differences(ours, their_groups(alertmanager))
            assert not found, f"{about}\n{found}"
            return True

        eventually(same, 10)


def test_fingerprints_are_those_of_the_api(alertmanager: Alertmanager) -> None:
    maker = Maker(3)
    sets = [maker.labels() for _ in range(300)] + [{"a": "b" * 5_000}, {"snowman": "☃", "emoji": "🙂"}]
    alertmanager.post([{"labels": labels} for labels in sets])
    assert {alert["fingerprint"]: alert["labels"] for alert in alertmanager.alerts()} == {fingerprint(one): one for one in sets}
