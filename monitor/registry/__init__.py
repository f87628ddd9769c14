"""Use cases behind the command line and the API: what is registered, and what operators say of it."""

from monitor.registry.use_cases import (
    Change,
    Changes,
    Progress,
    add,
    apply,
    edit,
    export_manifest,
    find,
    plan,
    registered,
    remove,
    set_override,
    set_paused,
)

__all__ = [
    "Change",
    "Changes",
    "Progress",
    "add",
    "apply",
    "edit",
    "export_manifest",
    "find",
    "plan",
    "registered",
    "remove",
    "set_override",
    "set_paused",
]
