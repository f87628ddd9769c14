"""Runs seeds: `python -m tests.simulation.run --seeds 10000`, or one of them again with its whole log: `--seed 17 --weather storm`."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.simulation import checkers, checkers_alerts
from tests.simulation.parts import outside_replaced
from tests.simulation.virtual import current_life, run
from tests.simulation.weather import WEATHERS
from tests.simulation.world import World

CHECKERS = (*checkers.CHECKERS, *checkers_alerts.CHECKERS)
SHOWN_MAX = 20
"""Complaints of one run that are shown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    weather: str
    complaints: tuple[str, ...]
    log: tuple[str, ...]

    def __str__(self) -> str:
        head = f"seed {self.seed}, weather {self.weather!r}: make simulate SEED={self.seed} WEATHER={self.weather.replace(' ', '-')}"
        more = [f"... and {len(self.complaints) - SHOWN_MAX} more"] if len(self.complaints) > SHOWN_MAX else []
        return "\n  ".join([head, *self.complaints[:SHOWN_MAX], *more])


def simulate(seed: int, weather: str) -> Outcome:
    """Live through one world, and ask every checker."""
    world = World(seed, WEATHERS[weather])

    async def story() -> list[str]:
        await world.live()
        return [f"{checker.__name__}: {complaint}" for checker in CHECKERS for complaint in _asked(checker, world)]

    with outside_replaced():
        complaints = run(story(), world.loop)
    return Outcome(seed, weather, tuple(complaints), tuple(world.seen.log))


class _Diary(logging.Handler):
    """Writes what a simulated process logs into the log of its world."""

    def emit(self, record: logging.LogRecord) -> None:
        life = current_life()
        if life is not None and life.part is not None:
            error = record.exc_info[1] if record.exc_info else None
            life.part.world.note(f"{life.name} logs: {record.getMessage()}{f': {error!r}' if error else ''}")


def _asked(checker: Callable[[World], Iterable[str]], world: World) -> Iterable[str]:
    try:
        yield from checker(world)
    except Exception as error:  # What stops a checker is itself a thing to complain of.
        yield f"failed: {error!r}"


def weather_of(seed: int) -> str:
    """Every weather gets its share of the seeds."""
    names = tuple(WEATHERS)
    return names[seed % len(names)]


def _simulate(seed_and_weather: tuple[int, str]) -> Outcome:
    logging.disable(logging.CRITICAL)
    outcome = simulate(*seed_and_weather)
    return Outcome(outcome.seed, outcome.weather, outcome.complaints, ())


def simulate_many(runs: Iterable[tuple[int, str]], processes: int) -> Iterable[Outcome]:
    """Live through many worlds on several processors; each process ends after some of them, and what the dead still hold with it."""
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=200) as pool:
        yield from pool.imap_unordered(_simulate, runs)


def _try_mutations() -> int:
    from tests.simulation.mutations import MUTATIONS  # noqa: PLC0415 - it patches what this module runs.

    logging.disable(logging.CRITICAL)
    missed = 0
    for mutation in MUTATIONS:
        outcome = mutation.found()
        missed += outcome is None
        found = f"seed {outcome.seed}: {outcome.complaints[0]}" if outcome else "NOT FOUND"
        print(f"{mutation.name} ({mutation.fault}), {mutation.weather}, {found}", flush=True)
    return bool(missed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds, over all weathers by turns")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this seed alone, and print all that happens in it")
    parser.add_argument("--weather", choices=[name.replace(" ", "-") for name in WEATHERS], help="in this weather alone")
    parser.add_argument("--mutations", action="store_true", help="put each fault of mutations.py back, and see whether it is found")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    weather = chosen.weather.replace("-", " ") if chosen.weather else None
    if chosen.mutations:
        return _try_mutations()
    if chosen.seed is not None:
        logging.basicConfig(level=logging.INFO, handlers=[_Diary()])
        outcome = simulate(chosen.seed, weather or weather_of(chosen.seed))
        print("\n".join(outcome.log))
        print(outcome if outcome.complaints else "everything that must hold held")
        return bool(outcome.complaints)
    failed = 0
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    for done, outcome in enumerate(simulate_many(((seed, weather or weather_of(seed)) for seed in seeds), chosen.processes), 1):
        if outcome.complaints:
            failed += 1
            print(outcome, flush=True)
        if done % 100 == 0 or done == chosen.seeds:
            print(f"{done} of {chosen.seeds} seeds, {failed} failed", file=sys.stderr, flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
