"""What we monitor: endpoints, and the pools that share weights.

Everything here is normalised and valid: text written by people becomes an `Endpoint` or a `Pool`
in `monitor/config/manifest.py` only, which refuses what breaks a limit named here.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

SLOTS_MAX = 64
"""Slots of a data set, which share its endpoints."""
INTERVAL_MIN_MS = 500
INTERVAL_MAX_MS = 86_400_000
ID_LENGTH_MAX = 200
LABELS_MAX = 64
DEPENDS_ON_MAX = 64
RETRIES_MAX = 10
THRESHOLD_MAX = 1_000
WEIGHT_MAX = 1_000
URL_LENGTH_MAX = 2_048
OWNER_MANUAL = "manual"
"""The owner of what people register one by one, and of manifests that name none."""
PORT_MAX = 65_535
DEFAULT_PORTS = {"http": 80, "https": 443}
"""The port of a URL that names none, by its scheme."""


class PolicyChoice(msgspec.Struct, frozen=True):
    """A trip policy as it was written: its kind, and those of its settings that were given, by their canonical names and in their types.

    What it comes to is said by core/policies/choice.
    """

    kind: str
    settings: dict[str, int | float | bool | str] = {}

    def __hash__(self) -> int:
        return hash((self.kind, frozenset(self.settings.items())))


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A registered thing that we monitor.

    `options` holds what only its kind of prober understands (`expect_status`, `method`, ...), already
    normalised by that prober's table of options. `depends_on` lists the ids of its parents.
    """

    id: str
    url: str
    pool: str
    kind: str = "http"
    interval_ms: int = 10_000
    fast_interval_ms: int = 0
    """Interval while a change of state is pending; 0 means `interval_ms`. Envoy's *_edge_interval, HAProxy's fastinter."""
    timeout_ms: int = 5_000
    initial_delay_ms: int = 0
    retries: int = 2
    retry_delay_ms: int = 1_000
    failure_threshold: int = 3
    success_threshold: int = 2
    weight: int = 100
    """Base weight b in the pool, 1 to WEIGHT_MAX; only its proportion to the others' counts."""
    labels: dict[str, str] = {}
    depends_on: tuple[str, ...] = ()
    paused: bool = False
    owner: str = OWNER_MANUAL
    """Who registered it: a manifest's owner, whose `apply --prune` may remove it."""
    active: PolicyChoice | None = None
    passive: PolicyChoice | None = None
    """The policies that judge probes and what consumers report, where they differ from the pool's."""
    options: dict[str, Any] = {}

    @property
    def phase_ms(self) -> int:
        """Place on the interval's fixed grid; the same in every process and after every restart."""
        return zlib.crc32(self.id.encode()) % self.interval_ms

    @property
    def known_by(self) -> dict[str, str]:
        """Its labels with `endpoint` and `pool`, as its alerts carry them: by these people choose it."""
        return {**self.labels, "endpoint": self.id, "pool": self.pool}

    @property
    def attempts_budget_ms(self) -> int:
        """Longest time that one probe with all its retries may take: never more than its interval."""
        delays = self.retry_delay_ms * ((1 << self.retries) - 1)
        return min(self.timeout_ms * (self.retries + 1) + delays, self.interval_ms)


class Pool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Interchangeable endpoints that share weights.

    An endpoint registered without a pool is the only member of a pool with its own id as name.
    `max_ejection_percent` is Envoy's limit of that name; the cap on one endpoint's share follows
    from it (phi = 100 / (100 - max_ejection_percent), see pool/balancer).
    `defaults` holds endpoint settings (normalised, by field name) that members inherit.
    """

    name: str
    max_ejection_percent: int = 50
    panic: bool = True
    """False: in a pool too unhealthy for its load the rest is published as `shed` instead of sent to ejected endpoints."""
    warm_up_ms: int = 30_000
    open_ms: int = 5_000
    open_max_ms: int = 300_000
    flapping_start_percent: int = 30
    flapping_stop_percent: int = 25
    """Bounds of Icinga's value, above which a member begins to flap, and at which it stops; a start of 0: it never flaps."""
    active: PolicyChoice | None = None
    passive: PolicyChoice | None = None
    """The policies that judge probes and what consumers report; None: `consecutive` and `cusum`."""
    owner: str = OWNER_MANUAL
    defaults: dict[str, Any] = {}
