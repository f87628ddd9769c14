"""Routing files as anybody could write them: a routing that finds a receiver for every alert, or a located refusal."""

from __future__ import annotations

from hypothesis import example, given

from alert_rules.files.routing_file import parse_routing
from tests.fuzz.play import cases
from tests.fuzz.yaml_files import mutated, readings

FILE = """\
global: {resolve_timeout: 5m}
route: &root
  receiver: team
  group_by: [alertname, pool]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 4h
  routes:
    - matchers: ['severity="critical"', 'pool=~"shop|checkout"']
      receiver: pager
      continue: true
    - match_re: {team: "shop.*"}
      routes:
        - match: {pool: db}
          group_by: ['...']
receivers:
  - name: team
    labels: {about: shop}
    apprise_configs: &services
      - url: json://127.0.0.1:9/x
        title: "{{ status }}: {{ subject }}"
        body: "{% for alert in alerts %}{{ alert.labels.pool.upper() }} {{ alert.summary }}{% endfor %}"
        send_resolved: false
      - {url_file: /run/secrets/urls, tag: team}
  - name: pager
    apprise_configs: *services
"""


@example(FILE)
@cases(250)
@given(mutated(FILE))
def test_a_routing_file_is_read_or_refused_with_its_place(text: str) -> None:
    routing = readings(lambda: parse_routing(text, "alerting.yml"), "alerting.yml")
    assert routing is not None or text != FILE
    if routing is not None:
        for labels in ({}, {"team": "shop", "pool": "db", "severity": "critical"}):
            for route in routing.match(labels):
                assert route.receiver in routing.receivers
