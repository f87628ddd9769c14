"""What a probe saw."""

from __future__ import annotations

from enum import StrEnum

import msgspec

TEXT_LENGTH_MAX = 300


class Outcome(StrEnum):
    """What a probe taught about its target."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    INCONCLUSIVE = "INCONCLUSIVE"
    """Our own error (loop lag, no resolver, no file descriptors): it counts neither for nor against the target."""


class FailureClass(StrEnum):
    """Where a probe failed: the step, or the expectation, that the target did not satisfy."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    STATUS = "status"
    PROTOCOL = "protocol"
    ASSERTION = "assertion"
    POLICY = "policy"


class Phases(msgspec.Struct, frozen=True, omit_defaults=True):
    """Milliseconds spent in each phase, summed over redirects; 0.0 where a phase did not happen."""

    resolve_ms: float = 0.0
    connect_ms: float = 0.0
    tls_ms: float = 0.0
    first_byte_ms: float = 0.0
    transfer_ms: float = 0.0


class Certificate(msgspec.Struct, frozen=True, omit_defaults=True):
    """The peer's certificate; `not_after_ms` is the earliest expiry of what was served."""

    subject: str
    issuer: str
    not_after_ms: int
    names: tuple[str, ...] = ()


class StaleAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The address comes from an answer that has expired: when that came, and why there is no other; `ours` when that is our own error."""

    at_ms: int
    why: str
    ours: bool = False


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of one probe with all its attempts.

    `at_ms` is when the last attempt ended, on the shared timeline; `duration_ms` is that attempt's length.
    `text` says what was seen and what was wanted, cut at TEXT_LENGTH_MAX; it is data, never markup.
    """

    outcome: Outcome
    at_ms: int
    started_ms: int
    duration_ms: float
    scheduled_ms: int = 0
    failure: FailureClass | None = None
    text: str = ""
    status: int = 0
    attempts: int = 1
    attempt_texts: tuple[str, ...] = ()
    """What each failed attempt before the last one saw."""
    phases: Phases = Phases()
    certificate: Certificate | None = None
    ip: str = ""
    http_version: str = ""
    final_url: str = ""
    body_bytes: int = 0
    stale: StaleAnswer | None = None
