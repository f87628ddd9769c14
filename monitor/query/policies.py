"""Which policies judge an endpoint, and which of them decided what it is now: for programs, and in words."""

from __future__ import annotations

from typing import Any

import msgspec

from monitor.config.policies import format_setting
from monitor.core.endpoint import Endpoint, Pool
from monitor.core.policies.choice import NONE, Chosen, resolved
from monitor.core.record import BreakerState, Transition

ROLES = {"active": "probes", "passive": "what consumers report"}
"""What each of the two policies judges."""


def in_force(endpoint: Endpoint, pool: Pool) -> dict[str, dict[str, Any]]:
    """`active` and `passive`, each with its kind and every setting by its name; times are milliseconds."""
    chosen = resolved(endpoint, pool)
    return {"active": _row(chosen.active), "passive": _row(chosen.passive)}


def policy_texts(endpoint: Endpoint, pool: Pool) -> list[str]:
    """One sentence for each policy, with the settings that are not as its kind has them built in."""
    chosen = resolved(endpoint, pool)
    return [f"{ROLES['active']} are judged by {_text(chosen.active)}", f"{ROLES['passive']} is judged by {_text(chosen.passive)}"]


def decider(decided: BreakerState | Transition) -> str:
    """`passive envoy, consecutive_5xx`: whose evidence decided, by which policy and which of its rules; "" where no policy did."""
    if not decided.policy:
        return ""
    rule = f", {decided.rule}" if decided.rule not in {"", decided.policy} else ""
    return f"{decided.source} {decided.policy}{rule}".strip()


def _row(chosen: Chosen | None) -> dict[str, Any]:
    return {"kind": chosen.kind, **msgspec.structs.asdict(chosen.settings)} if chosen else {"kind": NONE}


def _text(chosen: Chosen | None) -> str:
    if chosen is None:
        return "nobody"
    built_in = msgspec.structs.asdict(chosen.policy.settings())
    others = {name: value for name, value in msgspec.structs.asdict(chosen.settings).items() if value != built_in[name]}
    return chosen.kind + (f" ({', '.join(f'{name} {_shown(name, value)}' for name, value in others.items())})" if others else "")


def _shown(name: str, value: Any) -> str:
    written = format_setting(name, value)
    return str(written).lower() if isinstance(written, bool) else f"{written:g}" if isinstance(written, float) else str(written)
