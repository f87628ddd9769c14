"""The table of kinds: a new kind is its file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

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


def kind_of(url: str) -> str:
    """Return the kind that probes this URL. Raises ValueError with a remedy when there is none."""
    try:
        kind = urlsplit(url).scheme
    except ValueError as error:
        raise ValueError(f"not a URL ({error}); write for example http://127.0.0.1:8080/health") from None
    if kind not in PROBERS:
        raise ValueError(f"no prober for {kind or 'a URL without a scheme'!r}; write one of {', '.join(PROBERS)} before ://")
    return kind


def prepare(endpoint: Endpoint) -> Probe:
    """Compile an endpoint, in the process that probes it: references to secrets are resolved here.

    Raises ValueError with a remedy.
    """
    return PROBERS[kind_of(endpoint.url)].prepare(endpoint)
