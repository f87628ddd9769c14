"""The store in memory: the shipped fake, with the semantics of the real one and the given clock as the server's.

For tests, simulations and demonstrations; one event loop, one process. Nothing awaits, so every method is atomic.
"""

from __future__ import annotations

from monitor.store.memory.alerts import MemoryAlerts
from monitor.store.memory.aside import MemoryAside
from monitor.store.memory.life import MemoryLife
from monitor.store.memory.pools import MemoryPools
from monitor.store.memory.probes import MemoryProbes
from monitor.store.memory.processes import MemoryProcesses
from monitor.store.memory.queues import MemoryQueues
from monitor.store.memory.reading import MemoryReading
from monitor.store.memory.registry import MemoryRegistry
from monitor.store.memory.traffic import MemoryTraffic
from monitor.store.memory.trials import MemoryTrials


class MemoryStore(
    MemoryLife,
    MemoryRegistry,
    MemoryProbes,
    MemoryQueues,
    MemoryPools,
    MemoryTraffic,
    MemoryTrials,
    MemoryAlerts,
    MemoryAside,
    MemoryReading,
    MemoryProcesses,
):
    """See port.Store."""
