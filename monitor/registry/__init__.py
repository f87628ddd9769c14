"""Use cases behind the command line and the API: what is registered, and what operators say of it.

Each reads the registry, decides everything, and only then writes, fenced by what it read: where somebody else was faster it reads
again and decides again. What is refused before anything is written leaves nothing behind; `apply`, `remove` and `set_paused`, which
write many entries, leave those written where others keep changing the rest. Each takes the `actor`, who stands in the events that follow.
"""

from monitor.registry.apply import Changes, EndpointChange, Progress, apply, plan
from monitor.registry.aside import discard
from monitor.registry.check import check
from monitor.registry.endpoints import add, edit, remove, set_paused
from monitor.registry.known import Known, export_manifest, find, read_known, read_members
from monitor.registry.overrides import set_override
from monitor.registry.pools import reset_pool
from monitor.registry.rename import rename

__all__ = [
    "Changes",
    "EndpointChange",
    "Known",
    "Progress",
    "add",
    "apply",
    "check",
    "discard",
    "edit",
    "export_manifest",
    "find",
    "plan",
    "read_known",
    "read_members",
    "remove",
    "rename",
    "reset_pool",
    "set_override",
    "set_paused",
]
