"""`watchkeeper breaker`: overrides of the breaker, and replays of its policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from monitor.cli.common import System, by_option, needs_system
from monitor.cli.pool import override
from monitor.cli.replay import replay
from monitor.core.record import Override

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def breaker() -> None:
    """Open or close an endpoint's breaker by hand, leave it to the probes, or replay what a policy would have done."""


def _operators(command: F) -> F:
    """Add the arguments of every command here."""
    reason = click.option("--reason", required=True, help="Why; `status`, `explain` and `events` show it.")
    return click.argument("endpoint_id", metavar="ENDPOINT")(reason(by_option(needs_system(command))))


@breaker.command("open")
@_operators
def open_(system: System, endpoint_id: str, reason: str, actor: str) -> None:
    """Keep the breaker open, whatever the probes see, until `breaker auto`.

    \b
    Example:
      watchkeeper breaker open shop-1 --reason "wrong prices since 14:00"
    """
    override(system, endpoint_id, Override.FORCED_OPEN, reason, actor)


@breaker.command()
@_operators
def close(system: System, endpoint_id: str, reason: str, actor: str) -> None:
    """Keep the breaker closed, whatever the probes see, until `breaker auto`.

    \b
    Example:
      watchkeeper breaker close shop-1 --reason "the health page is wrong, traffic is fine"
    """
    override(system, endpoint_id, Override.FORCED_CLOSED, reason, actor)


@breaker.command()
@_operators
def disable(system: System, endpoint_id: str, reason: str, actor: str) -> None:
    """Let nothing open the breaker, until `breaker auto`; what would have is not told either.

    \b
    Example:
      watchkeeper breaker disable shop-1 --reason "load test until 16:00"
    """
    override(system, endpoint_id, Override.DISABLED, reason, actor)


@breaker.command("metrics-only")
@_operators
def metrics_only(system: System, endpoint_id: str, reason: str, actor: str) -> None:
    """Let nothing open the breaker, until `breaker auto`; `events` tells once of each rule that would have.

    \b
    Example:
      watchkeeper breaker metrics-only shop-1 --reason "a week with cusum before it may act"
    """
    override(system, endpoint_id, Override.METRICS_ONLY, reason, actor)


@breaker.command()
@_operators
def auto(system: System, endpoint_id: str, reason: str, actor: str) -> None:
    """Take an override back: the probes decide again.

    \b
    Example:
      watchkeeper breaker auto shop-1 --reason "prices are right again"
    """
    override(system, endpoint_id, None, reason, actor)


breaker.add_command(replay)
