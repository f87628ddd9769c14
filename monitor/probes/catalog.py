"""The table of kinds: a new kind is its file and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.core.endpoint import Endpoint
from monitor.probes.base import Probe, Prober
from monitor.probes.http import HttpProber
from monitor.probes.tcp import TcpProber

_PROBERS: tuple[Prober, ...] = (
    HttpProber(),
    TcpProber(),
)
PROBERS: Mapping[str, Prober] = {scheme: prober for prober in _PROBERS for scheme in prober.schemes}
"""kind -> prober. A kind is the scheme of the URL."""


def prepare(endpoint: Endpoint) -> Probe:
    """Compile an endpoint, in the process that probes it: references to secrets are resolved here.

    Raises ValueError with a hint; a kind is unknown to a version older than the one that registered it.
    """
    prober = PROBERS.get(endpoint.kind)
    if prober is None:
        raise ValueError(f"there is no prober for {endpoint.kind!r}; write one of {', '.join(PROBERS)} before ://")
    return prober.prepare(endpoint)
