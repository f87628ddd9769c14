"""Faults put back: each takes one fix out, and names a seed and a weather in which the simulation then finds it.

They are wrappers and stand-ins of the simulated world; production code knows nothing of them. A rule that stood in two places, in the
server's scripts and in this store, cannot be put back here: tests/contract/test_same.py holds the two against each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest import mock

import msgspec

from alert_rules.notify.message import Compose, Escaping
from alert_rules.routes.route import Integration
from alert_rules.rules import memory
from monitor.core import decide as monitor_decide
from monitor.core import history
from monitor.core.endpoint import Endpoint
from monitor.core.errors import WatchkeeperError
from monitor.core.observation import ResultPace
from monitor.core.outcome import Result
from monitor.core.record import HistoryState
from monitor.pool import compose
from monitor.registry import overrides
from monitor.store.memory import probes as memory_probes
from monitor.store.memory.pace import Pace
from monitor.store.memory.store import MemoryStore
from monitor.store.port import NO_EPOCH, Epoch, Publication
from tests.simulation import outside, parts
from tests.simulation.run import Outcome, simulate
from tests.simulation.server import EPOCH_MS, Server
from tests.simulation.virtual import NOBODY
from workers.journey import decide, deliver
from workers.journey.deliver import DeliverStep
from workers.journey.endpoint_cache import EndpointCache, Prepared
from workers.journey.flush import FlushStep
from workers.journey.pool_subject import PoolSubject
from workers.journey.probe import ProbeStep
from workers.journey.publish import Publisher
from workers.journey.quarantine import Quarantine

TRIES = 12


class Mutation(msgspec.Struct, frozen=True):
    """`fault` is what comes back; `put_back` lets it, for as long as it is entered. `seed` found it last: any change of the code makes
    other stories of the seeds, so TRIES more of them may be tried."""

    name: str
    fault: str
    weather: str
    seed: int
    put_back: Callable[[], contextlib.AbstractContextManager[object]]

    def found(self) -> Outcome | None:
        """The first run in which a checker complains; None where nobody sees the fault."""
        for seed in dict.fromkeys((self.seed, *range(TRIES))):
            with self.put_back():
                outcome = simulate(seed, self.weather)
            if outcome.complaints:
                return outcome
        return None


class _Anything:
    """A digest that any other equals."""

    def __eq__(self, _other: object) -> bool:
        return True

    def __ne__(self, _other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class _WallClock:
    """A process that believes its machine's own clock."""

    known, tilted = True, False

    def __init__(self, machine: parts.Machine) -> None:
        self._machine = machine

    def now_ms(self) -> int:
        return EPOCH_MS + self._machine.wall_ms()

    def monotonic_ms(self) -> int:
        return self._machine.monotonic_ms()

    async def learn(self, _server_now_ms: object) -> bool:
        return True


def _wall_clocks() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(parts, "ServerClock", lambda monotonic_ms: _WallClock(monotonic_ms.__self__))


def _old_facts_of_the_present() -> contextlib.AbstractContextManager[object]:
    evaluate = decide.evaluate

    def forgetful(rules: Any, labels: Any, old: Any, new: Any, *rest: Any, **named: Any) -> Any:
        return evaluate(rules, labels, old and {**old, "override": new["override"]}, new, *rest, **named)

    return mock.patch.object(decide, "evaluate", forgetful)


@contextlib.contextmanager
def _one_row_for_all_services() -> Iterator[None]:
    async def together(self: FlushStep, receiver: str) -> tuple[Integration, ...]:
        return self._routing.integrations(receiver)

    async def send(integration: Integration, compose: Compose, afresh: Callable[[], Awaitable[None]], _patience_s: float) -> str:
        services = parts.current_life().part.world.services  # type: ignore[union-attr]
        names = await services.names(integration)
        refusal: Exception | None = None
        for name in names:
            try:
                await services.accept(integration.of_service(name, alone=len(names) == 1), compose(Escaping()).body, afresh)
            except outside.DeliveryError as error:
                refusal = error
        if refusal is not None:
            raise refusal
        return "accepted"

    with mock.patch.object(FlushStep, "integrations", together), mock.patch.object(parts, "_send", send):
        yield


def _no_quarantine() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(Quarantine, "read", lambda _self, _kind, _key, data, decode: decode(data))


def _unfit_options_raise() -> contextlib.AbstractContextManager[object]:
    make = EndpointCache.make

    def raising(self: EndpointCache, endpoint: Endpoint) -> Prepared:
        prepared = make(self, endpoint)
        if prepared.probe is None:
            raise TypeError(prepared.error)
        return prepared

    return mock.patch.object(EndpointCache, "make", raising)


def _edits_unfenced() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(MemoryStore, "_digest", return_value=_Anything())


def _overrides_unfenced() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(overrides, "digest", return_value=_Anything())


def _only_probes_realigned() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(memory_probes, "move_back", return_value=0)


@contextlib.contextmanager
def _expired_leases_probed() -> Iterator[None]:
    day_ms = 86_400_000
    probe_batch, init = ProbeStep.probe_batch, decide.Probed.__init__

    async def late(self: ProbeStep, slot: int, rev: int, items: Any) -> None:
        await probe_batch(self, slot, rev, [(name, token_ms + day_ms, due_ms) for name, token_ms, due_ms in items])

    def probed(self: Any, prepared: Any, token_ms: int, *rest: Any) -> None:
        init(self, prepared, token_ms - day_ms, *rest)

    with mock.patch.object(ProbeStep, "probe_batch", late), mock.patch.object(decide.Probed, "__init__", probed):
        yield


def _everything_is_fresh() -> contextlib.AbstractContextManager[object]:
    async def lagging(_self: MemoryStore) -> list[str]:
        return []

    return mock.patch.object(MemoryStore, "lagging", lagging)


def _late_tombstones_count() -> contextlib.AbstractContextManager[object]:
    publish = Server.publish

    async def late(self: Server, publication: Publication) -> Epoch:
        """The index is written apart from the snapshot, and comes two seconds later."""
        epoch = await publish(self, publication)
        if publication.tombstone:
            self._loop.call_later(2.0, self.published.discard, publication.pool, context=NOBODY)
        return epoch

    return mock.patch.object(Server, "publish", late)


def _one_epoch_for_ever() -> contextlib.AbstractContextManager[object]:
    async def epoch(self: MemoryStore, _seen: Epoch = NO_EPOCH) -> Epoch:
        self._epoch = Epoch(1, self._epoch.publications)
        return self._epoch

    return mock.patch.object(MemoryStore, "epoch", epoch)


@contextlib.contextmanager
def _pools_are_told_once() -> Iterator[None]:
    tell, publish = PoolSubject.tell, Publisher._publish
    published: set[str] = set()

    async def noting(self: Publisher, previous: Any, snapshot: Any, logged: Any) -> None:
        await publish(self, previous, snapshot, logged)
        published.add(snapshot.pool)

    async def once(self: PoolSubject, name: str, *args: Any, **named: Any) -> int:
        if name not in published:
            return 0
        published.discard(name)
        return await tell(self, name, *args, **named)

    with mock.patch.object(Publisher, "_publish", noting), mock.patch.object(PoolSubject, "tell", once):
        yield


def _takeovers_are_sent_as_they_are() -> contextlib.AbstractContextManager[object]:
    async def superseded(*_: object) -> str:
        return ""

    return mock.patch.object(DeliverStep, "_superseded", superseded)


def _our_outage_is_their_silence() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(Pace, "results", return_value=ResultPace())


def _claims_are_taken_for_results() -> contextlib.AbstractContextManager[object]:
    claimed = Pace.claimed

    def judged(self: Pace, now_ms: int) -> None:
        claimed(self, now_ms)
        self.committed(now_ms)

    return mock.patch.object(Pace, "claimed", judged)


@contextlib.contextmanager
def _duplicates_are_sent() -> Iterator[None]:
    """Nobody asks whether a lease is still his before he sends."""

    async def confirmed(_self: object) -> None:
        return None

    with (
        mock.patch.object(DeliverStep, "_take", functools.partialmethod(_as_it_is)),
        mock.patch.object(deliver._Held, "confirm", confirmed),
    ):
        yield


async def _as_it_is(_self: DeliverStep, lease: Any) -> Any:
    return lease


def _given_up_is_unheard_of() -> contextlib.AbstractContextManager[object]:
    async def never(*_: object) -> None:
        return None

    return mock.patch.object(deliver.DeliverStep, "_maybe_told", never)


def _turns_are_sent_as_they_were_decided() -> contextlib.AbstractContextManager[object]:
    send_one = DeliverStep._send_one

    async def without_question(self: DeliverStep, notification: Any, _afresh: object) -> str:
        async def nothing() -> None:
            return None

        return await send_one(self, notification, nothing)

    return mock.patch.object(DeliverStep, "_send_one", without_question)


@contextlib.contextmanager
def _half_started_workers_stay() -> Iterator[None]:
    """What a start raises is swallowed; the process takes messages, and does nothing with them."""
    run, take = parts.Part.run, parts.Part.take

    async def stay(self: parts.Part) -> None:
        try:
            await run(self)
        except WatchkeeperError:
            self.services, self.open = None, True
            await asyncio.Event().wait()

    def take_for_nothing(self: parts.Part, message: Any) -> None:
        if self.services is not None:
            take(self, message)

    with mock.patch.object(parts.Part, "run", stay), mock.patch.object(parts.Part, "take", take_for_nothing):
        yield


def _places_by_the_interval() -> contextlib.AbstractContextManager[object]:
    observe = history.observe

    def thin(past: HistoryState, endpoint: Endpoint, result: Result, *rest: Any) -> Any:
        place = result.at_ms // endpoint.interval_ms % history.RING_LENGTH
        return observe(msgspec.structs.replace(past, place=place), endpoint, result, *rest)

    return mock.patch.object(history, "observe", thin)


def _probes_are_counted_for_time() -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(history, "_stood_ms", lambda past, _endpoint, _until_ms: past.interval_ms)


@contextlib.contextmanager
def _subjects_do_not_move_with_time() -> Iterator[None]:
    def never(*_: object, **__: object) -> int:
        return 0

    with contextlib.ExitStack() as stack:
        for module in (monitor_decide, compose, memory):
            stack.enter_context(mock.patch.object(module, "stepped_ms", never))
        yield


def _words_are_not_heard() -> contextlib.AbstractContextManager[object]:
    evaluate = decide.evaluate
    return mock.patch.object(decide, "evaluate", lambda *args, **named: evaluate(*args, **{**named, "said": None}))


def _what_was_known_before_a_pause_counts_after_it() -> contextlib.AbstractContextManager[object]:
    facts = decide.endpoint_facts
    return mock.patch.object(decide, "endpoint_facts", lambda one, record: {**facts(one, record), "outdated": one.paused})


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("old facts of the present", "a rule on `override` never fires", "operators", 8, _old_facts_of_the_present),
    Mutation("one row for all services", "services that have a message get it again for another", "services", 0, _one_row_for_all_services),
    Mutation("no quarantine", "one unreadable record stops everybody", "rubbish", 9, _no_quarantine),
    Mutation("unfit options raise", "one endpoint that cannot be prepared stops its batch", "rubbish", 12, _unfit_options_raise),
    Mutation("edits unfenced", "an edit undoes a pause made in between", "crowd", 0, _edits_unfenced),
    Mutation("overrides unfenced", "undrain deletes a FORCED_OPEN set in between", "crowd", 0, _overrides_unfenced),
    Mutation("wall clocks", "a worker's clock decides which alert is newer, and when a group is due", "clocks", 6, _wall_clocks),
    Mutation("only probes realigned", "a clock that is put right silences open groups", "time steps", 7, _only_probes_realigned),
    Mutation("expired leases probed", "what nobody waits for is probed all the same", "broker", 1, _expired_leases_probed),
    Mutation("everything is fresh", "judging stops and consumers see FRESH", "no beat", 4, _everything_is_fresh),
    Mutation("late tombstones count", "a live pool disappears", "crowd", 17, _late_tombstones_count),
    Mutation("one epoch for ever", "consumers refuse the state of a new data set", "flush", 0, _one_epoch_for_ever),
    Mutation("pools are told once", "a pool's alerts are lost with a lost answer", "store", 18, _pools_are_told_once),
    Mutation("takeovers sent as they are", "a stale FIRING arrives after the recovery", "services", 10, _takeovers_are_sent_as_they_are),
    Mutation("our outage is their silence", "NoData of every endpoint after an outage of ours", "no beat", 1, _our_outage_is_their_silence),
    Mutation("claims are taken for results", "NoData while all probe workers are dead", "no worker", 0, _claims_are_taken_for_results),
    Mutation("duplicates are sent", "a message that came twice makes two senders", "storm", 17, _duplicates_are_sent),
    Mutation("given up is unheard of", "who may have been told is not told the end", "services", 10, _given_up_is_unheard_of),
    Mutation(
        "turns are not decided afresh",
        "a FIRING that waited for its turn arrives after the recovery",
        "services",
        14,
        _turns_are_sent_as_they_were_decided,
    ),
    Mutation("half-started workers stay", "a worker that cannot work takes messages for ever", "kills", 0, _half_started_workers_stay),
    Mutation("places by the interval", "history thins out while probes are fast", "fair", 0, _places_by_the_interval),
    Mutation("probes are counted for time", "uptime counts probes", "fair", 0, _probes_are_counted_for_time),
    Mutation("subjects do not move with time", "a step back opens a breaker for an hour", "step back", 0, _subjects_do_not_move_with_time),
    Mutation("words are not heard", "a drain is told as a recovery", "operators", 1, _words_are_not_heard),
    Mutation(
        "what was known before a pause counts after it",
        "a resume fires before any probe",
        "operators",
        12,
        _what_was_known_before_a_pause_counts_after_it,
    ),
)
