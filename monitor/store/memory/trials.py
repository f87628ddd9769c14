"""Leased trials in memory."""

from __future__ import annotations

import msgspec

from monitor.core.policies.call import CallOutcome
from monitor.core.reports import Trial, TrialReport, encode_report
from monitor.pool.trials import LiveToken, TrialCount, TrialState, TrialTerms, holder
from monitor.store.memory.state import MemoryState, Trials
from monitor.store.port import Ended, Grant, Publication, Refusal, TrialEnd

_JUDGED = (CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.TIMEOUT)


class MemoryTrials(MemoryState):
    """See port.trials."""

    def _publish_trials(self, publication: Publication) -> None:
        trials = self._trials[publication.pool]
        trials.terms = dict(publication.trials)
        trials.expire_ms = self._clock.now_ms() + publication.trials_ttl_ms
        if not trials.terms:
            trials.counts.clear()

    async def grant_trial(self, pool: str, endpoint_id: str, token: str) -> Grant | Refusal:
        terms = self._terms(pool, endpoint_id)
        if terms is None:
            return Refusal.NONE
        now_ms, live = self._clock.now_ms(), self._purge(pool, endpoint_id, terms)
        count = self._count(pool, endpoint_id, terms)
        if token not in live:
            if len(live) >= terms.at_once(count.ok):
                return Refusal.BUSY
            if count.ok + count.failed + len(live) >= terms.permitted:
                return Refusal.SPENT
            live[token] = now_ms + terms.lease_ms
            self._trials[pool].live[endpoint_id] = (terms.gen, live)
        return Grant(terms.gen, terms.lease_ms, live[token])

    async def end_trial(self, pool: str, end: TrialEnd) -> Ended:
        terms = self._terms(pool, end.endpoint)
        if terms is None or terms.gen != end.gen:
            return Ended.STALE
        gen, live = self._trials[pool].live.get(end.endpoint, (terms.gen, {}))
        if gen != end.gen or end.token not in live:
            return Ended.LOST
        until_ms, count = live.pop(end.token), self._count(pool, end.endpoint, terms)
        if until_ms <= self._clock.now_ms():
            self._keep(pool, end.endpoint, terms, lost=count.lost + 1)
            return Ended.LOST
        if end.outcome not in _JUDGED:
            return Ended.RELEASED
        outcome = CallOutcome(end.outcome)
        trial = Trial(
            endpoint=end.endpoint, gen=end.gen, outcome=outcome, duration_ms=end.duration_ms, code=end.code, observer=end.observer
        )
        self._reports[pool].append(encode_report(TrialReport(trial=trial)))
        well = outcome is CallOutcome.SUCCESS
        self._keep(pool, end.endpoint, terms, ok=count.ok + well, failed=count.failed + (not well))
        return Ended.COUNTED

    async def trials_of(self, pool: str) -> dict[str, TrialState]:
        now_ms, found = self._clock.now_ms(), {}
        for endpoint_id in self._trials[pool].terms:
            terms = self._terms(pool, endpoint_id)
            if terms is not None:
                gen, live = self._trials[pool].live.get(endpoint_id, (terms.gen, {}))
                tokens = [LiveToken(holder(token), until_ms) for token, until_ms in live.items() if until_ms > now_ms]
                found[endpoint_id] = TrialState(terms, self._count(pool, endpoint_id, terms), tuple(tokens) if gen == terms.gen else ())
        return found

    def _terms(self, pool: str, endpoint_id: str) -> TrialTerms | None:
        trials: Trials = self._trials[pool]
        return trials.terms.get(endpoint_id) if self._clock.now_ms() < trials.expire_ms else None

    def _purge(self, pool: str, endpoint_id: str, terms: TrialTerms) -> dict[str, int]:
        """The live tokens, without those of another generation, and without those whose lease is over, which are lost."""
        now_ms, count = self._clock.now_ms(), self._count(pool, endpoint_id, terms)
        gen, tokens = self._trials[pool].live.get(endpoint_id, (terms.gen, {}))
        if gen != terms.gen:
            return {}
        live = {token: min(until_ms, now_ms + terms.lease_ms) for token, until_ms in tokens.items() if until_ms > now_ms}
        lost = len(tokens) - len(live)
        self._trials[pool].live[endpoint_id] = (terms.gen, live)
        if lost:
            self._keep(pool, endpoint_id, terms, lost=count.lost + lost)
        return live

    def _count(self, pool: str, endpoint_id: str, terms: TrialTerms) -> TrialCount:
        gen, count = self._trials[pool].counts.get(endpoint_id, (terms.gen, TrialCount()))
        return count if gen == terms.gen else TrialCount()

    def _keep(self, pool: str, endpoint_id: str, terms: TrialTerms, **changes: int) -> None:
        count = msgspec.structs.replace(self._count(pool, endpoint_id, terms), **changes)
        self._trials[pool].counts[endpoint_id] = (terms.gen, count)
