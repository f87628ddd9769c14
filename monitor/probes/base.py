"""What a kind of prober is made of: its options, a probe compiled from an endpoint, and one attempt's outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from monitor.clock import Clock
from monitor.core.endpoint import Endpoint
from monitor.core.outcome import Certificate, FailureClass, Outcome, Phases, StaleAnswer
from monitor.core.said import clean
from monitor.probes.matching import Matching
from monitor.probes.network import Network

NO_PHASES = Phases()


@dataclass(frozen=True, slots=True)
class Option:
    """One setting that only some kinds of prober understand.

    `parse` takes what a person wrote (text, or a list or mapping from a file) and returns a value that is
    JSON-able, normalised, and parsed to itself; it raises ValueError with a hint. The manifest, the command
    line and the reference learn of an option from here and nowhere else.
    """

    name: str
    parse: Callable[[Any], Any]
    help: str
    default: Any = None
    repeatable: bool = False
    """The command line may give it several times; `parse` gets the list of texts."""

    @property
    def flag(self) -> str:
        """The command line's name of it."""
        return "--" + self.name.replace("_", "-")


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one attempt of a probe saw; `text` says what was seen and what was wanted."""

    outcome: Outcome
    failure: FailureClass | None = None
    text: str = ""
    phases: Phases = Phases()
    status: int = 0
    certificate: Certificate | None = None
    ip: str = ""
    http_version: str = ""
    final_url: str = ""
    body_bytes: int = 0
    matching_ms: float = 0.0
    """How much of its time was our own, for matching what had come."""
    stale: StaleAnswer | None = None


@dataclass(slots=True)
class ProbeContext:
    """What all probes of one worker's event loop share."""

    clock: Clock
    network: Network
    matching: Matching

    async def close(self) -> None:
        """Let go of threads, sockets, timers and the resolver."""
        self.matching.close()
        await self.network.close()


class Probe(Protocol):
    """An endpoint compiled once: patterns, request bytes, addresses."""

    async def attempt(self, context: ProbeContext, timeout_ms: int) -> Attempt:
        """Probe once. An expected failure is a value; only cancellation and errors of our own code raise."""
        ...


class Prober(Protocol):
    """A protocol that we can probe."""

    schemes: Sequence[str]
    options: Sequence[Option]

    def validate(self, endpoint: Endpoint) -> None:
        """Raise ValueError with a hint where the URL and the options contradict each other. Reads no secrets."""
        ...

    def prepare(self, endpoint: Endpoint) -> Probe:
        """Compile, resolving references to secrets. Raises ValueError with a hint."""
        ...


def failed(failure: FailureClass, text: str, *, phases: Phases = NO_PHASES, **seen: Any) -> Attempt:
    """An attempt that the target failed; `text` says what was seen and wanted, `seen` are further fields of Attempt."""
    return Attempt(Outcome.FAILURE, failure, clean(text), phases, **seen)


def inconclusive(text: str, *, phases: Phases = NO_PHASES, **seen: Any) -> Attempt:
    """An attempt that says nothing about the target, because the error may be ours; arguments as for `failed`."""
    return Attempt(Outcome.INCONCLUSIVE, None, clean(text), phases, **seen)
