"""The routing file: what it refuses, and where alerts go."""

from __future__ import annotations

import pytest

from alert_rules.files.routing_file import parse_routing
from alert_rules.routes.group import group_of
from alert_rules.routes.route import default_routing, group_key, group_labels
from monitor.core.errors import ConfigError

RECEIVERS = "receivers: [{name: notify-def}, {name: notify-A}, {name: notify-BC}, {name: notify-test}, {name: notify-prod}]\n"
TREE = """
route:
  receiver: notify-def
  routes:
  - match: {owner: team-A}
    receiver: notify-A
    routes:
    - match: {env: testing}
      receiver: notify-test
      group_by: ['...']
    - match: {env: production}
      receiver: notify-prod
      group_wait: 1m
      continue: true
    - match: {env: produ.*, job: ".*"}
    - match_re: {env: "produ.*", job: ".*"}
  - match_re: {owner: team-(B|C)}
    group_by: [foo, bar]
    group_wait: 2m
    receiver: notify-BC
"""


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"owner": "team-A"}, ["notify-A"]),
        ({"owner": "team-A", "env": "unset"}, ["notify-A"]),
        ({"owner": "team-C"}, ["notify-BC"]),
        ({"owner": "team-A", "env": "testing"}, ["notify-test"]),
        ({"owner": "team-A", "env": "production"}, ["notify-prod", "notify-A"]),
        ({"owner": "team-D"}, ["notify-def"]),
        ({}, ["notify-def"]),
    ],
)
def test_the_deepest_matches_take_an_alert(labels: dict[str, str], receivers: list[str]) -> None:
    assert [route.receiver for route in parse_routing(TREE + RECEIVERS).match(labels)] == receivers


def test_children_inherit_what_they_do_not_say() -> None:
    routing = parse_routing(TREE + RECEIVERS)
    testing = routing.match({"owner": "team-A", "env": "testing"})[0]
    assert (testing.group_by, testing.group_wait_ms, testing.group_interval_ms) == (None, 30_000, 300_000)
    team_bc = routing.match({"owner": "team-B"})[0]
    assert (team_bc.group_by, team_bc.group_wait_ms, team_bc.repeat_interval_ms) == (("foo", "bar"), 120_000, 14_400_000)
    assert team_bc.id == '{}/{owner=~"^(?:team-(B|C))$"}/1'


def test_a_group_is_named_by_its_path_and_the_labels_it_shares() -> None:
    routing = parse_routing(TREE + RECEIVERS)
    labels = {"owner": "team-B", "foo": "1", "alertname": "X"}
    route = routing.match(labels)[0]
    assert group_labels(route, labels) == {"foo": "1"}
    assert group_key(route, labels) == '{}/{owner=~"^(?:team-(B|C))$"}/1:{foo="1"}'


def test_twins_never_share_a_group() -> None:
    routing = parse_routing("""
route:
  receiver: a
  routes:
  - {matchers: [x=y], continue: true}
  - {matchers: [x=y]}
receivers: [{name: a}]
""")
    assert len({group_key(route, {"x": "y"}) for route in routing.match({"x": "y"})}) == 2


def test_an_empty_group_by_overrides_the_parents() -> None:
    routing = parse_routing("route: {receiver: a, group_by: [x], routes: [{matchers: [k=v], group_by: []}]}\nreceivers: [{name: a}]")
    assert routing.match({"k": "v"})[0].group_by == ()


def test_scalars_are_texts_as_they_were_written() -> None:
    routing = parse_routing("route: {receiver: 1, routes: [{match: {test: 2, on: yes}, receiver: a}]}\nreceivers: [{name: 1}, {name: a}]")
    assert routing.match({"test": "2", "on": "yes"})[0].receiver == "a"


def test_an_integration_is_found_by_its_place() -> None:
    routing = parse_routing("""
route: {receiver: team/a}
receivers:
- name: team/a
  apprise_configs: [{url: "env:ONE"}, {url_file: /run/url, send_resolved: false, title: "{{ status }}"}]
""")
    first, second = routing.integrations("team/a")
    assert (first.key, first.send_resolved, second.url_file, second.send_resolved) == ("team/a/apprise/0", True, "/run/url", False)
    assert routing.integration("team/a", second.key) == second
    assert routing.integration("team/a", "team/a/apprise/7") is None
    assert routing.integration("gone", second.key) is None


def test_without_a_file_alerts_are_printed() -> None:
    routing = default_routing()
    assert [one.url for one in routing.integrations(routing.match({"alertname": "X"})[0].receiver)] == ["console:"]


def test_a_fallback_is_told() -> None:
    routing = parse_routing("route: {receiver: a, routes: [{matchers: ['foo=']}]}\nreceivers: [{name: a}]")
    assert "alerting.yml:1" in routing.warnings[0]


ROUTE_A = "route: {receiver: a}\n"
ONE = "receivers: [{name: a}]\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no route provided in config"),
        (ONE, "no routes provided"),
        ("route: {group_wait: 1s}\n" + ONE, "root route must specify a default receiver"),
        (ROUTE_A + "receivers: [{name: a}, {name: a}]", 'notification config name "a" is not unique'),
        ("route: {receiver: b}\n" + ONE, 'undefined receiver "b" used in route'),
        ("route: {receiver: a, routes: [{routes: [{receiver: b}]}]}\n" + ONE, 'undefined receiver "b" used in route'),
        (ROUTE_A + "receivers: [{name: a}, {labels: {x: y}}]", "missing name in receiver"),
        (ROUTE_A + "receivers: [{name: a, labels: {name: b}}]", 'receiver label "name" must match receiver name "a", got "b"'),
        ("route: {receiver: a, group_by: [x, x]}\n" + ONE, 'duplicated label "x" in group_by'),
        ("route: {receiver: a, group_by: ['...', x]}\n" + ONE, "cannot have wildcard group_by (`...`) and other labels at the same time"),
        ("route: {receiver: a, matchers: [x=y]}\n" + ONE, "root route must not have any matchers"),
        ("route: {receiver: a, match: {x: y}}\n" + ONE, "root route must not have any matchers"),
        ("route: {receiver: a, match_re: {x: y}}\n" + ONE, "root route must not have any matchers"),
        ("route: {receiver: a, mute_time_intervals: [x]}\n" + ONE, "root route must not have any mute time intervals"),
        ("route: {receiver: a, active_time_intervals: [x]}\n" + ONE, "root route must not have any active time intervals"),
        ("route: {receiver: a, continue: true}\n" + ONE, "cannot have continue in root route"),
        ("route: {receiver: a, group_interval: 0s}\n" + ONE, "group_interval cannot be zero"),
        ("route: {receiver: a, repeat_interval: 0}\n" + ONE, "repeat_interval cannot be zero"),
        ("route: {receiver: a, reciever: b}\n" + ONE, "field reciever not found in type config.plain; did you mean receiver?"),
        (ROUTE_A + ONE + "rout: 1", "field rout not found in type config.plain; did you mean route?"),
        ("route: {receiver: a, routes: [{matchers: ['a-b=c=']}]}\n" + ONE, "bad matcher format: a-b=c="),
        ("route: {receiver: a, routes: [{match_re: {x: 'a['}}]}\n" + ONE, "error parsing regexp: missing closing ]: `[)$` (got"),
        ("route: {receiver: a, routes: [{match_re: {x: 'a{2,1}'}}]}\n" + ONE, "error parsing regexp: invalid repeat count: `{2,1}`"),
        ("route: {receiver: a, routes: [{match: {a-b: c}}]}\n" + ONE, 'invalid label name "a-b"'),
        (ROUTE_A + ONE + "inhibit_rules: [{equal: [x]}]", "inhibit_rules is not supported yet"),
        (ROUTE_A + ONE + "time_intervals: [{name: x}]", "time_intervals is not supported yet"),
        ("route: {receiver: a, routes: [{mute_time_intervals: [x]}]}\n" + ONE, "mute_time_intervals is not supported yet"),
        (ROUTE_A + "receivers: [{name: a, slack_configs: [{}]}]", "slack_configs is not supported yet; write `apprise_configs"),
        (ROUTE_A + "receivers: [{name: a, apprise_configs: [{}]}]", "exactly one of url and url_file must be given"),
        (ROUTE_A + "receivers: [{name: a, apprise_configs: [null]}]", "missing apprise config"),
        (ROUTE_A + "receivers: [{name: a, apprise_configs: [{url: foo}]}]", "this is no apprise URL"),
        (
            ROUTE_A + "receivers: [{name: a, apprise_configs: [{url: 'a://b', tag: night}]}]",
            "a tag chooses among the URLs of an apprise file",
        ),
        (ROUTE_A + "receivers: [{name: a, apprise_configs: [{url: 'a://b', body: '{{ .X }}'}]}]", "this is a Go template"),
        (
            ROUTE_A + "receivers: [{name: a, apprise_configs: [{url: 'a://b', title: '{{ 1 / 0 }}'}]}]",
            "the template always fails: line 1: division by zero",
        ),
        (ROUTE_A + "receivers: [{name: a, apprise_configs: [{url: 'a://b', body: '{{ alerts + 1 }}'}]}]", "the template always fails"),
        (ROUTE_A + "receivers: [{name: a, apprise_configs: [{url: 'a://b', send_resolved: yes}]}]", "this must be true or false"),
        ("global: {smtp_from: x}\n" + ROUTE_A + ONE, "smtp_from is not supported"),
        ("global: {resolve_timeout: 1m}\n" + ROUTE_A + ONE, "less than 5m: an alert that still fires is asserted again within that time"),
        ("route: {receiver: a, group_wait: 5 minutes}\n" + ONE, "is not a duration"),
        ("route: [a]\n" + ONE, "this must be a mapping"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_routing(text)
    assert error in str(caught.value)
    assert all(problem.where.startswith("alerting.yml:") for problem in caught.value.problems)


def test_resolve_timeout_is_five_minutes_or_what_the_file_says() -> None:
    assert parse_routing(ROUTE_A + ONE).resolve_timeout_ms == 300_000
    assert parse_routing("global: {resolve_timeout: 10m}\n" + ROUTE_A + ONE).resolve_timeout_ms == 600_000


def test_labels_of_routes_are_inherited_and_reach_the_group() -> None:
    routing = parse_routing("""
route: {receiver: a, labels: {tier: one, team: x}, routes: [{matchers: [severity=page], labels: {tier: two}}]}
receivers: [{name: a, labels: {desk: night}, apprise_configs: [{url: "json://x"}]}]
""")
    (route,) = routing.match({"severity": "page"})
    assert group_of(route, {}).route_labels == {"tier": "two", "team": "x"}
    assert routing.integrations("a")[0].receiver_labels == {"desk": "night"}
