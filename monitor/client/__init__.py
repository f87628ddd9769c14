"""What a service imports to balance its requests over a pool.

>>> from monitor.client import HealthView
>>> with HealthView("redis://127.0.0.1:6379/0") as view:   # doctest: +SKIP
...     endpoint = view.pick("shop")
"""

from monitor.client.health import HealthView
from monitor.client.records import Change, EndpointView, Freshness, NoEndpoint, Staleness
from monitor.client.reporter import Reports
from monitor.client.trial import Trial
from monitor.client.watch import Watch
from monitor.pool.snapshot import PublishedEndpoint, Snapshot

__all__ = [
    "Change",
    "EndpointView",
    "Freshness",
    "HealthView",
    "NoEndpoint",
    "PublishedEndpoint",
    "Reports",
    "Snapshot",
    "Staleness",
    "Trial",
    "Watch",
]
