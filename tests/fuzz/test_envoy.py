"""The policy `envoy` beside a host-by-host model of Envoy's outlier detection, which walks every call and every interval."""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.policies.envoy_state import Settings
from monitor.core.replaying.player import play
from monitor.core.replaying.recording import read_recording
from tests.fuzz.play import cases

OUTCOMES: Final = ("success", "failure", "timeout", "rejected", "ignored")
CODES: Final = (None, None, None, 200, 404, 499, 500, 502, 503, 504, 599, 600)
CHANCE: Final = st.sampled_from((0, 100, 100))


class Host:
    def __init__(self) -> None:
        self.in_row = {"consecutive_5xx": 0, "consecutive_gateway_failure": 0, "consecutive_local_origin_failure": 0}
        self.now: list[list[bool]] = [[], []]
        self.last: list[list[bool]] = [[], []]
        self.out = False
        self.out_ms = self.in_ms = -1
        self.k = self.ejections = 0


class Model:
    """Envoy's source in a page: one host after the other, one call after the other."""

    def __init__(self, names: list[str], settings: Settings) -> None:
        self.settings, self.hosts, self.now_ms = settings, {name: Host() for name in names}, 0
        self.changes: list[tuple[int, str, str]] = []

    def advance(self, until_ms: int) -> None:
        while (due_ms := (self.now_ms // self.settings.interval_ms + 1) * self.settings.interval_ms) <= until_ms:
            self.now_ms = due_ms
            for host in self.hosts.values():
                if host.out and self.end_ms(host) <= due_ms:
                    self.uneject(host)
                host.last, host.now = host.now, [[], []]
            self.compare(0, "")
            self.compare(1, "_local_origin")
            for host in self.hosts.values():
                if not host.out and host.in_ms >= 0 and due_ms - host.in_ms >= self.settings.interval_ms:
                    host.k = max(0, host.k - 1)
        self.now_ms = until_ms

    def end_ms(self, host: Host) -> int:
        return host.out_ms + min(self.settings.base_ejection_time_ms * host.k, self.settings.longest_ms)

    def compare(self, place: int, suffix: str) -> None:
        chosen = self.settings
        rates = [
            (host, sum(host.last[place]) * 100.0 / len(host.last[place]), len(host.last[place]))
            for host in self.hosts.values()
            if host.last[place] and not host.out
        ]
        compared = [(host, rate) for host, rate, calls in rates if calls >= chosen.success_rate_request_volume]
        judged = [(host, rate) for host, rate, calls in rates if calls >= chosen.failure_percentage_request_volume]
        if compared and len(compared) >= chosen.success_rate_minimum_hosts:
            total = squares = 0.0
            for _, rate in compared:
                total += rate
            mean = total / len(compared)
            for _, rate in compared:
                squares += (rate - mean) ** 2
            threshold = mean - chosen.success_rate_stdev_factor / 1000.0 * sqrt(squares / len(compared))
            chance = chosen.enforcing_local_origin_success_rate if place else chosen.enforcing_success_rate
            for host, rate in compared:
                if rate < threshold:
                    self.eject(host, f"success_rate{suffix}", chance)
        if judged and len(judged) >= chosen.failure_percentage_minimum_hosts:
            chance = chosen.enforcing_failure_percentage_local_origin if place else chosen.enforcing_failure_percentage
            for host, rate in judged:
                if 100.0 - rate >= chosen.failure_percentage_threshold and not host.out:
                    self.eject(host, f"failure_percentage{suffix}", chance)

    def eject(self, host: Host, rule: str, chance: int) -> None:
        ejected = sum(one.out for one in self.hosts.values())
        room = 100.0 * (ejected + 1) / len(self.hosts) <= self.settings.max_ejection_percent
        if chance and (room or (self.settings.always_eject_one_host and not ejected)):
            host.out, host.out_ms, host.ejections = True, self.now_ms, host.ejections + 1
            if host.k * self.settings.base_ejection_time_ms < self.settings.longest_ms + self.settings.base_ejection_time_ms:
                host.k += 1
            self.changes.append((self.now_ms, self.name(host), rule))

    def uneject(self, host: Host) -> None:
        host.out, host.in_ms = False, self.now_ms
        host.in_row = dict.fromkeys(host.in_row, 0)
        self.changes.append((self.now_ms, self.name(host), ""))

    def name(self, host: Host) -> str:
        return next(name for name, one in self.hosts.items() if one is host)

    def fail(self, host: Host, rule: str) -> None:
        host.in_row[rule] += 1
        if host.in_row[rule] == getattr(self.settings, rule) and not host.out:
            self.eject(host, rule, getattr(self.settings, f"enforcing_{rule}"))
            host.in_row[rule] = 0

    def answer(self, host: Host, code: int) -> None:
        bad = 500 <= code < 600
        host.now[0].append(not bad)
        if code in {502, 503, 504}:
            self.fail(host, "consecutive_gateway_failure")
        else:
            host.in_row["consecutive_gateway_failure"] = 0
        if bad:
            self.fail(host, "consecutive_5xx")
        else:
            host.in_row["consecutive_5xx"] = 0

    def locally(self, host: Host, *, good: bool) -> None:
        host.now[1].append(good)
        if good:
            host.in_row["consecutive_local_origin_failure"] = 0
        else:
            self.fail(host, "consecutive_local_origin_failure")

    def call(self, host: Host, outcome: str, code: int | None, *, local: bool) -> None:
        split = self.settings.split_external_local_origin_errors
        if code is None and outcome not in {"success", "failure", "timeout"}:
            return
        if split and local:
            self.locally(host, good=outcome == "success" if code is None else not 500 <= code < 600)
        elif code is not None:
            self.answer(host, code)
        elif outcome == "success":
            if not local:
                self.answer(host, 200)
                if split:
                    self.locally(host, good=True)
        else:
            self.answer(host, 504 if outcome == "timeout" else 503 if local else 500)


SETTINGS: Final = st.builds(
    dict,
    max_ejection_percent=st.sampled_from((10, 20, 34, 50, 100)),
    always_eject_one_host=st.booleans(),
    interval_ms=st.sampled_from((1, 7, 100)),
    base_ejection_time_ms=st.sampled_from((1, 50, 100, 300)),
    max_ejection_time_ms=st.sampled_from((300, 307, 900)),
    split_external_local_origin_errors=st.booleans(),
    consecutive_5xx=st.sampled_from((0, 1, 3, 5, 50)),
    consecutive_gateway_failure=st.sampled_from((0, 1, 2, 5)),
    consecutive_local_origin_failure=st.sampled_from((0, 1, 4)),
    success_rate_minimum_hosts=st.sampled_from((0, 1, 3, 5)),
    success_rate_request_volume=st.sampled_from((0, 1, 5, 20)),
    success_rate_stdev_factor=st.sampled_from((0, 500, 1000, 1900)),
    failure_percentage_threshold=st.sampled_from((0, 30, 50, 85, 100)),
    failure_percentage_minimum_hosts=st.sampled_from((0, 1, 3, 5)),
    failure_percentage_request_volume=st.sampled_from((0, 1, 5, 20)),
    **{row.name: CHANCE for row in msgspec.structs.fields(Settings) if row.name.startswith("enforcing")},
)
EVENT: Final = st.tuples(
    st.sampled_from((0, 0, 0, 0, 1, 6, 7, 99, 100, 301)),
    st.integers(0, 5),
    st.sampled_from((*OUTCOMES, *OUTCOMES[:3], "probe")),
    st.sampled_from(CODES),
    st.booleans(),
    st.sampled_from((1, 1, 2, 5, 20)),
)


@cases(150)
@given(SETTINGS, st.sampled_from((1, 2, 5, 6)), st.lists(EVENT, min_size=20, max_size=120))
def test_it_ejects_whom_a_model_of_envoy_ejects(chosen: dict[str, Any], hosts: int, drawn: list[tuple[Any, ...]]) -> None:
    names = [f"host-{place}" for place in range(hosts)]
    model, now_ms, events, seen = Model(names, Settings(**chosen)), 0, [], []
    for after_ms, place, what, code, local, count in drawn:
        now_ms += after_ms
        name = names[place % hosts]
        host = model.hosts[name]
        model.advance(now_ms)
        event: dict[str, Any] = {"at_ms": now_ms, "endpoint": name}
        if what == "probe":
            events.append(event | {"probe": "success"})
            if host.out:
                model.uneject(host)
        else:
            events.append(event | {"outcome": what, "local_origin": local, "count": count} | ({} if code is None else {"code": code}))
            for _ in range(count):
                model.call(host, what, code, local=local)
        seen.append((host.out, model.end_ms(host) if host.out else None, host.ejections))
    written = msgspec.json.encode({"policy": {"kind": "envoy", **chosen}, "endpoints": names, "events": events})
    steps = play(read_recording(written, "drawn")).steps
    assert [(step.state == "open", step.open_until_ms, step.ejections) for step in steps] == seen
    changes = [
        (change.at_ms, change.endpoint, change.reason.partition(":")[0] if change.new == "open" else "")
        for step in steps
        for change in step.transitions
    ]
    by_time_and_host = sorted(model.changes, key=lambda change: change[:2])
    assert sorted(changes, key=lambda change: change[:2]) == by_time_and_host
