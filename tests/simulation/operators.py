"""People at the command line: they register, edit, pause, drain and apply at random times, and remember what they were told succeeded."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from monitor import registry
from monitor.config.manifest import load_sources
from monitor.core.durations import format_duration
from monitor.core.errors import ConfigError, StoreError
from monitor.core.record import Override, decode_override
from tests.simulation.network import Link, run_now
from tests.simulation.virtual import Life

if TYPE_CHECKING:
    from tests.simulation.world import World

POOLS: Final = {
    "shop": "{kind: consecutive}",
    "bank": "{kind: resilience4j, sliding_window_size: 3, failure_rate_threshold: 100, wait_duration_in_open_state_ms: 2s,"
    " permitted_number_of_calls_in_half_open_state: 2}",
}
"""The pools by name, each with the policy that judges its probes."""
MEMBERS: Final = 3
SOLO: Final = "lone"
ABSENT: Final = "absent"
FIELDS: Final = ("exists", "paused", "interval", "tier", "override")
INTERVALS: Final = ("1s", "2s", "3s", "4s")
AGAIN_S = 1.0
TRIES_MAX = 60

Values = Mapping[tuple[str, str], Any]
"""(endpoint, field) -> what it is to be."""


@dataclass(slots=True)
class Act:
    """One command. `sets` is what it made so, where it was acknowledged, or may have made so, where it was not."""

    what: str
    began_s: float
    sets: Values
    life: Life
    ended_s: float = math.inf
    acknowledged: bool = False

    @property
    def last_s(self) -> float:
        """Until when it may have changed something."""
        return max(self.ended_s, self.life.served_s)


@dataclass(slots=True)
class Wish:
    """What somebody is about to do: `do` returns what became so, given what was to become so."""

    what: str
    sets: dict[tuple[str, str], Any]
    do: Callable[[Any], Awaitable[Values]]
    actor: str = field(default="ann")
    halfway: dict[tuple[str, str], Any] = field(default_factory=dict)
    """What may be so where it failed on its way."""


class Operators:
    def __init__(self, world: World) -> None:
        self.world = world
        self.names = [f"{pool}-{number}" for pool in POOLS for number in range(MEMBERS)] + [SOLO]
        self.acts: list[Act] = []
        self._running: set[asyncio.Task[Any]] = set()
        self.removed: set[str] = set()
        """Endpoints that somebody may have removed, and that may have begun anew."""
        self._count = 0

    # When they act --------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Apply the manifest of everything, again until it has succeeded."""
        for _ in range(TRIES_MAX):
            if await self._act(self._apply(self.names, "begin", {})):
                return
            await asyncio.sleep(AGAIN_S)
        self.world.seen.errors.append("the manifest could not be applied")

    async def work(self) -> None:
        rng = self.world.rng
        while True:
            await asyncio.sleep(rng.expovariate(1 / self.world.weather.operate_every_s))
            name = rng.choice(self.names)
            for _ in range(rng.choice([1, 1, 2, 3])):  # In an incident several people look at the same endpoint.
                work = asyncio.ensure_future(self._act(self._wish(name)))
                self._running.add(work)
                work.add_done_callback(self._running.discard)
                await asyncio.sleep(rng.uniform(0, 0.02))

    async def finish(self) -> None:
        """Wait for what is in flight; then write anew what became unreadable."""
        while self._running:
            await asyncio.wait(list(self._running))
        damaged = {damage.kind: damage.key for damage in self.world.seen.damages}
        if damaged.keys() & {"endpoint", "pool"}:
            await self.begin()
        for damage in self.world.seen.damages:
            if damage.kind == "override":
                await self._act(self._override(damage.key, None))

    def lost_since(self, since_s: float) -> None:
        """The server has forgotten everything since then, whatever somebody was told."""
        for act in self.acts:
            if act.last_s >= since_s:
                act.acknowledged = False

    # What there is --------------------------------------------------------------------------------------------------

    def found(self, name: str) -> dict[str, Any]:
        """The fields of an endpoint as the server has them."""
        server = self.world.server
        endpoint = run_now(server.endpoints([name])).get(name)
        if endpoint is None:
            return {"exists": False}
        said = decode_override(run_now(server.load([name]))[0].override)
        return {
            "exists": True,
            "paused": endpoint.paused,
            "interval": format_duration(endpoint.interval_ms),
            "tier": endpoint.labels.get("tier"),
            "override": said.override if said else None,
        }

    def untouched_pools(self) -> set[str]:
        """Pools of which no member was ever paused or removed."""
        touched = {
            pool_of(name)
            for act in self.acts
            for (name, field), value in act.sets.items()
            if value == ABSENT or (field == "paused" and value)
        }
        return {*POOLS, SOLO} - touched - set(map(pool_of, self.removed))

    async def _act(self, wish: Wish) -> bool:
        """Run one command as a process of its own. Whether it was acknowledged."""
        self._count += 1
        world = self.world
        life = Life(f"operator-{self._count}", world.loop)
        act = Act(wish.what, world.loop.time(), dict(wish.sets), life)
        self.acts.append(act)
        self.removed |= {name for (name, _), value in act.sets.items() if value == ABSENT}
        said = "done"
        try:
            act.sets = await life.start(wish.do(Link(world.network, life)))  # type: ignore[arg-type]
            act.acknowledged = True
        except ConfigError as error:
            act.sets = {}
            said = str(error)
        except StoreError as error:
            said = str(error)
        except Exception as error:  # A traceback in somebody's face.
            said = repr(error)
            world.seen.errors.append(f"{life.name} {wish.what}: {error!r}")
        act.ended_s = world.loop.time()
        if wish.halfway and not act.acknowledged:
            self.acts.append(Act(f"{wish.what} (half of it)", act.began_s, wish.halfway, life, act.ended_s))
        world.note(f"{life.name} ({wish.actor}) {wish.what}: {said}")
        life.kill()
        return act.acknowledged

    # What they do ---------------------------------------------------------------------------------------------------

    def _wish(self, name: str) -> Wish:
        rng = self.world.rng
        make: Callable[[str], Wish] = rng.choice(
            [
                self._edit,
                self._edit_label,
                lambda name: self._pause(name, paused=True),
                lambda name: self._pause(name, paused=False),
                lambda name: self._pause(name, paused=False),
                self._remove,
                self._add,
                self._add,
                self._recreate,
                lambda name: self._override(name, Override.DRAIN),
                self._undrain,
                lambda name: self._override(name, Override.FORCED_OPEN),
                lambda name: self._override(name, Override.FORCED_CLOSED),
                lambda name: self._override(name, None),
                lambda name: self._override(name, None),
                self._apply_some,
            ]
        )
        wish = make(name)
        wish.actor = rng.choice(["ann", "bob", "deploy"])
        return wish

    def _edit(self, name: str) -> Wish:
        return self._edited(name, "interval", {"interval": self.world.rng.choice(INTERVALS)})

    def _edit_label(self, name: str) -> Wish:
        return self._edited(name, "tier", {"labels": {"tier": self.world.rng.choice(["gold", "iron"])}})

    def _edited(self, name: str, field_name: str, entry: dict[str, Any]) -> Wish:
        value = entry.get("interval") or entry["labels"]["tier"]
        sets = {(name, field_name): value}

        async def do(store: Any) -> Values:
            await registry.edit(store, name, entry, actor=wish.actor)
            return sets

        wish = Wish(f"edits {name} {entry}", sets, do)
        return wish

    def _pause(self, name: str, *, paused: bool) -> Wish:
        sets = {(name, "paused"): paused}

        async def do(store: Any) -> Values:
            await registry.set_paused(store, [name], paused=paused, actor=wish.actor)
            return sets

        wish = Wish(f"{'pauses' if paused else 'resumes'} {name}", sets, do)
        return wish

    def _remove(self, name: str) -> Wish:
        sets = {(name, field_name): ABSENT for field_name in FIELDS}

        async def do(store: Any) -> Values:
            await registry.remove(store, [name], actor=wish.actor)
            return sets

        wish = Wish(f"removes {name}", sets, do)
        return wish

    def _add(self, name: str) -> Wish:
        interval = self.world.rng.choice(INTERVALS)
        sets = _fresh(name, interval)

        async def do(store: Any) -> Values:
            await registry.add(store, _entry(name, interval), actor=wish.actor)
            return sets

        wish = Wish(f"adds {name} every {interval}", sets, do)
        return wish

    def _recreate(self, name: str) -> Wish:
        interval = self.world.rng.choice(INTERVALS)
        sets = _fresh(name, interval)

        async def do(store: Any) -> Values:
            await registry.remove(store, [name], actor=wish.actor)
            await asyncio.sleep(pause_s)
            await registry.add(store, _entry(name, interval), actor=wish.actor)
            return sets

        self.removed.add(name)
        pause_s = self.world.rng.choice([0.0, 0.5])
        wish = Wish(f"removes {name} and adds it every {interval}", sets, do)
        wish.halfway = {(name, field_name): ABSENT for field_name in FIELDS}
        return wish

    def _override(self, name: str, override: Override | None) -> Wish:
        sets = {(name, "override"): override}

        async def do(store: Any) -> Values:
            await registry.set_override(store, name, override, "because", actor=wish.actor)
            return sets

        wish = Wish(f"says {override or 'auto'} of {name}", sets, do)
        return wish

    def _undrain(self, name: str) -> Wish:
        sets = {(name, "override"): None}

        async def do(store: Any) -> Values:
            await registry.set_override(store, name, None, "because", actor=wish.actor, only=Override.DRAIN)
            return sets

        wish = Wish(f"undrains {name}", sets, do)
        return wish

    def _apply_some(self, name: str) -> Wish:
        names = self.world.rng.sample(self.names, 3)
        if name not in names:
            names[0] = name
        return self._apply(names, "apply", {name: self.world.rng.choice(INTERVALS) for name in names})

    def _apply(self, names: list[str], what: str, intervals: dict[str, str]) -> Wish:
        written = {name: intervals.get(name) or INTERVALS[index % len(INTERVALS)] for index, name in enumerate(names)}
        kept = {(name, "interval"): interval for name, interval in written.items()} | {(name, "tier"): None for name in names}
        kept |= {(name, "exists"): True for name in names}
        sets = {key: value for name, interval in written.items() for key, value in _fresh(name, interval).items()}

        async def do(store: Any) -> Values:
            changes = await registry.apply(store, load_sources([("manifest", _manifest(written))]), actor=wish.actor)
            created = {key: value for name in changes.created for key, value in _fresh(name, written[name]).items()}
            return kept | created

        wish = Wish(f"{what} {written}", sets, do)
        return wish


def _fresh(name: str, interval: str) -> dict[tuple[str, str], Any]:
    """All fields of an endpoint that has just been registered."""
    return {
        (name, "exists"): True,
        (name, "paused"): False,
        (name, "interval"): interval,
        (name, "tier"): None,
        (name, "override"): None,
    }


def pool_of(name: str) -> str:
    return name if name == SOLO else name.rpartition("-")[0]


def _entry(name: str, interval: str) -> dict[str, Any]:
    """An endpoint as the command line hands it over."""
    entry = {"id": name, "url": f"http://{name}.test/", "interval": interval, "timeout": "500ms", "retries": "0"}
    return {**entry, "fast_interval": "500ms"} if name == SOLO else {**entry, "pool": pool_of(name)}


def _manifest(written: Mapping[str, str]) -> str:
    lines = ["pools:"]
    lines += [f"  {pool}: {{warm_up: 8s, open: 2s, active: {active}}}" for pool, active in POOLS.items()]
    lines.append("endpoints:")
    for name, interval in written.items():
        pairs = ", ".join(f"{key}: {value}" for key, value in _entry(name, interval).items())
        lines.append(f"  - {{{pairs}}}")
    return "\n".join(lines) + "\n"
