"""Step 8 of the journey: what subjects assert goes into the alert store, and into the groups that the routes name.

Assertions say what is true, not what happened: one that is lost, late or duplicated is made good by the next, and what nobody
asserts any more ends, with that reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from alert_rules.routes.group import first_flush_ms, group_of
from alert_rules.routes.route import Routing
from alert_rules.rules.alert import Alert
from alert_rules.rules.memory import Assertion, decode_assertion
from monitor.clock import Clock
from monitor.core.durations import format_duration
from monitor.core.errors import Stale, StoreError, StoreRefusal
from monitor.store.port import AssertedAlert, EndedAlert, Lease, Membership, SetAside, Store, SubjectAssertion
from monitor.store.queues import Queue, due_time
from workers.journey.counters import Counters
from workers.journey.quarantine import Quarantine
from workers.journey.soon import SoonAt

EVENTS_MAX = 200
"""Assertions that are taken in together: some six milliseconds of the server's time."""
ROUTE_LEASE_MS = 10_000
UNSERVED_MS = 30_000
"""A subject whose time comes up so late was not served by any alert worker; those that assert were not served either."""
SWEEP_MS = 60_000
ORPHANED = "what was stored of who asserts it is lost"

log = logging.getLogger(__name__)

JudgingSince = Callable[[str], Awaitable[int]]
"""Since when (ms) a subject has been judged without a gap."""
_encode = msgspec.json.Encoder().encode


class RouteStep:
    """One per process that routes."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        routing: Routing,
        judging_since: JudgingSince,
        soon: SoonAt,
        counters: Counters,
        quarantine: Quarantine,
    ) -> None:
        self._store = store
        self._clock = clock
        self._routing = routing
        self._judging_since = judging_since
        self._soon = soon
        self._counters = counters
        self._quarantine = quarantine
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wanted: set[int] = set()
        self._sweep_ms = 0

    def request(self, slot: int) -> None:
        """Route soon. A request that comes while one is served is served after it: it may speak of an event that the other did not see."""
        self._wanted.add(slot)
        task = self._tasks.get(slot)
        if task is None or task.done():
            self._tasks[slot] = asyncio.ensure_future(self._serve(slot))

    async def _serve(self, slot: int) -> None:
        while slot in self._wanted:
            self._wanted.discard(slot)
            await self.route(slot)

    async def route(self, slot: int) -> None:
        """Take in the slot's new assertions. One process at a time holds a slot's stream."""
        try:
            while await self._route_once(slot):
                pass
        except (StoreError, Stale) as error:
            log.warning("alerts of slot %d wait: %s", slot, error)
        except Exception:
            log.exception("alerts of slot %d could not be routed", slot)

    async def _route_once(self, slot: int) -> bool:
        token_ms, events = await self._store.claim_alert_events(slot, EVENTS_MAX, ROUTE_LEASE_MS)
        if not events:
            return False
        now_ms = self._clock.now_ms()
        read = [self._quarantine.read("assertion", f"s{slot}:{entry_id}", data, decode_assertion) for entry_id, data in events]
        await self._quarantine.flush()
        assertions = [self._grouped(assertion, now_ms) for assertion in read if assertion is not None]
        made = await self._take_in(assertions)
        self.announce(made, [group for one in assertions for alert in one.alerts for group in alert.groups])
        await self._store.ack_alert_events(slot, token_ms, [entry_id for entry_id, _ in events])
        self._counters.add("assertions_routed", len(assertions))
        return True

    async def _take_in(self, assertions: Sequence[SubjectAssertion]) -> list[str]:
        """Take assertions in; where the store refuses them together each goes alone, and one that it refuses is set aside."""
        try:
            return await self._store.assert_alerts(assertions)
        except StoreRefusal as error:
            if len(assertions) > 1:
                return [group for one in assertions for group in await self._take_in([one])]
            (refused,) = assertions
            log.exception("what %s asserts cannot be taken in and is set aside", refused.subject)
            self._counters.add("unreadable")
            await self._store.set_aside([SetAside("assertion", refused.subject, _encode(refused), str(error))])
            return []

    def _grouped(self, assertion: Assertion, now_ms: int) -> SubjectAssertion:
        return SubjectAssertion(
            subject=assertion.subject,
            ver=assertion.ver,
            at_ms=assertion.at_ms,
            expires_ms=now_ms + self._routing.resolve_timeout_ms,
            alerts=tuple(
                AssertedAlert(
                    fingerprint=alert.fingerprint,
                    alert=_encode(alert),
                    starts_ms=alert.starts_at_ms,
                    ends_ms=alert.ends_at_ms,
                    groups=self.memberships(alert, now_ms),
                )
                for alert in assertion.alerts
            ),
            ended=tuple(
                EndedAlert(fingerprint=alert.fingerprint, alert=_encode(alert), reason=alert.end_reason) for alert in assertion.ended
            ),
            reason=assertion.reason,
        )

    def memberships(self, alert: Alert, now_ms: int) -> tuple[Membership, ...]:
        """The groups that an alert belongs to as the routing file is now."""
        memberships = []
        for route in self._routing.match(alert.labels):
            meta = group_of(route, alert.labels)
            first_ms = first_flush_ms(alert, route, now_ms)
            memberships.append(Membership(fingerprint=alert.fingerprint, group=meta.key, meta=_encode(meta), first_flush_ms=first_ms))
        return tuple(memberships)

    def announce(self, made: Sequence[str], memberships: Sequence[Membership]) -> None:
        """Let the first flush of new groups come at its time."""
        first_ms = {one.group: one.first_flush_ms for one in reversed(memberships)}
        for group in made:
            self._soon(Queue.GROUPS, 0, group, due_time(first_ms[group]))

    async def end_unasserted(self, leases: Sequence[Lease]) -> None:
        """End the alerts of subjects that nobody has asserted for `resolve_timeout`, while those who would have could."""
        if self._clock.tilted:
            return  # The server's clock stepped: what looks late may not be. The lease brings them back.
        for lease in leases:
            try:
                await self._end_one(lease)
            except (Stale, StoreError) as error:
                log.info("the alerts of %s go on: %s", lease.member, error)
            except Exception:
                log.exception("the alerts of %s could not be ended", lease.member)

    async def end_orphans(self) -> None:
        """Every SWEEP_MS: end what fires though nobody's last assertion names it."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._sweep_ms:
            return
        self._sweep_ms = now_ms + SWEEP_MS
        if ended := await self._store.end_orphans(self._clock.now_ms(), ORPHANED):
            log.warning("%d alerts end: %s", ended, ORPHANED)
            self._counters.add("alerts_unasserted", ended)

    async def _end_one(self, lease: Lease) -> None:
        timeout_ms, now_ms = self._routing.resolve_timeout_ms, self._clock.now_ms()
        unserved = now_ms - lease.due_ms > UNSERVED_MS
        earliest_ms = (now_ms if unserved else await self._judging_since(lease.member)) + timeout_ms
        if now_ms < earliest_ms:
            await self._store.finish(Queue.ASSERTIONS, 0, lease.member, lease.token_ms, earliest_ms)
            return
        reason = f"nobody has asserted it for {format_duration(timeout_ms)}"
        ended = await self._store.end_asserted(lease.member, lease.token_ms, now_ms, reason, now_ms + timeout_ms)
        if ended:
            log.warning("%d alerts of %s end: %s", ended, lease.member, reason)
            self._counters.add("alerts_unasserted", ended)
