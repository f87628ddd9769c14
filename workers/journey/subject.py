"""What any subject of the rules has in common: what is told of it is written together with its record, until nothing is left to tell."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec

from alert_rules.rules.evaluate import Evaluation
from alert_rules.rules.memory import Ended, Memory, assertion, encode_assertion
from monitor.core.errors import Stale
from monitor.core.record import Transition, next_version
from monitor.store.port import Store
from workers.journey.quarantine import Quarantine

ROUNDS_MAX = 8

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True):
    """What is to be written and told of a subject.

    `alerting` is whether its rules hold an alert, pending or firing.
    `body` is its record, b"" where it is no more. `memory` is what is to be asserted of it, None for nothing; `ended` are the alerts that
    it held before. `wake_ms` is when its rules are to be evaluated again, 0: only when something changes.
    """

    body: bytes
    alerting: bool = False
    memory: Memory | None = None
    transitions: tuple[Transition, ...] = ()
    wake_ms: int = 0
    ended: tuple[Ended, ...] = ()


def heard(subject: str, evaluation: Evaluation) -> Evaluation:
    """Return an evaluation of the subject's rules once the errors that it met are logged."""
    for error in evaluation.errors:
        log.warning("rule error on %s: %s", subject, error)
    return evaluation


class Subjects:
    """The subjects that no probe decides about: pools, and Watchkeeper itself. `route(slot)` is told where alerts wait."""

    def __init__(self, *, store: Store, route: Callable[[int], None], quarantine: Quarantine) -> None:
        self._store = store
        self._route = route
        self._quarantine = quarantine

    async def tell(self, subject: str, at_ms: int, decide: Callable[[bytes, int], Awaitable[Told]]) -> int:
        """Tell what is true of the subject and was not told yet; return when its rules are to be evaluated again, or 0.

        `decide(held, turn)` makes it of the record that is stored. What differs is decided afresh until nothing is left to tell:
        another process may have written meanwhile, or died before it told. Raises Stale where that does not end.
        """
        for turn in range(ROUNDS_MAX):
            ver, held = await self._store.load_subject(subject)
            told = await decide(held, turn)
            await self._quarantine.flush()
            if told.body == held:
                return told.wake_ms
            if not turn:
                continue
            next_ver = next_version(ver, at_ms)
            transitions = [_encode(transition) for transition in told.transitions]
            alerts = []
            if told.memory is not None:
                alerts.append(encode_assertion(assertion(subject, next_ver, told.memory, at_ms, ended=told.ended)))
            written = await self._store.commit_subject(
                subject, ver, next_ver, told.body, alerting=told.alerting, alerts=alerts, transitions=transitions
            )
            if written and alerts:
                self._route(0)
        raise Stale(f"what is told of {subject} kept changing")
