"""Leased trials on Redis."""

from __future__ import annotations

from monitor.core.errors import StoreRefusal
from monitor.pool.trials import TrialState, read_state, read_terms
from monitor.store import keys
from monitor.store.names import name_of
from monitor.store.port import Ended, Grant, Refusal, TrialEnd
from monitor.store.redis.calls import Calls
from monitor.store.redis.replies import by
from monitor.store.trials import end_arguments, ended, grant_arguments, granted


class TrialCalls(Calls):
    """The calls of the port that concern trials."""

    async def grant_trial(self, pool: str, endpoint_id: str, token: str) -> Grant | Refusal:
        names, arguments = grant_arguments(pool, endpoint_id, token)
        return granted(await self._wire.run("grant_trial", names, *arguments))

    async def end_trial(self, pool: str, end: TrialEnd) -> Ended:
        names, arguments = end_arguments(pool, end)
        return ended(await self._wire.run("end_trial", names, *arguments))

    async def trials_of(self, pool: str) -> dict[str, TrialState]:
        (flat,) = await self._wire.execute_each(("HGETALL", keys.trials(pool)))
        published = by(2, [] if isinstance(flat, StoreRefusal) else flat)
        known = {name_of(endpoint_id): terms for endpoint_id, text in published if (terms := read_terms(text))}
        if not known:
            return {}
        now_ms = await self.now_ms()
        counts, *live = await self._wire.execute_each(
            ("HMGET", keys.trials_issued(pool), *known),
            *(("ZRANGE", keys.trial(pool, endpoint_id), 0, -1, "WITHSCORES") for endpoint_id in known),
        )
        counted = [b""] * len(known) if isinstance(counts, StoreRefusal) else counts
        tokens = [
            [] if isinstance(flat, StoreRefusal) else [(name_of(member), int(score)) for member, score in by(2, flat)] for flat in live
        ]
        return {
            endpoint_id: read_state(terms, count or b"", held, now_ms)
            for (endpoint_id, terms), count, held in zip(known.items(), counted, tokens, strict=True)
        }
