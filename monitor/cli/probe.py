"""`watchkeeper probe`, and how a result is shown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from monitor.cli.common import System, needs_system
from monitor.cli.output import emit_one, output_option
from monitor.cli.settings_options import entry_from, settings_options
from monitor.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from monitor.core.endpoint import Endpoint
    from monitor.core.outcome import Phases, Result

_VERDICTS = {"SUCCESS": "HEALTHY", "FAILURE": "UNHEALTHY", "INCONCLUSIVE": "UNKNOWN"}


@click.command()
@click.argument("url")
@settings_options
@click.option("--debug", is_flag=True, help="Show everything that was seen, with every attempt.")
@output_option
@needs_system
def probe(system: System, url: str, debug: bool, output: str, **options: Any) -> None:
    """Probe URL once from this machine, without registering it. Needs no running system.

    \b
    Examples:
      watchkeeper probe http://127.0.0.1:8080/health
      watchkeeper probe https://example.org --expect-status 200-399 --debug
      watchkeeper probe tcp://127.0.0.1:5432 -o json

    \b
    Exit codes: 0 success, 1 failure or inconclusive, 2 refused.
    """
    from monitor.config.manifest import read_manifest  # noqa: PLC0415 - after the help
    from monitor.config.manifest_writer import entry_node  # noqa: PLC0415

    entry = entry_from(url, {**options, "retries": options["retries"] or "0"})
    endpoint = read_manifest([entry_node(entry, entry.keys())], deny=system.deny).endpoints[0]
    result = probe_once(system, endpoint)
    emit_one(result_row(endpoint, result, debug=debug or output != "table"), output)
    raise SystemExit(0 if result.outcome == "SUCCESS" else 1)


def probe_once(system: System, endpoint: Endpoint) -> Result:
    """Probe from this process, under the same target policy and with the same resolvers as workers do."""
    from monitor.clock import SystemClock  # noqa: PLC0415 - after the help
    from monitor.probes.catalog import prepare  # noqa: PLC0415
    from monitor.probes.runner import make_context, run_probe  # noqa: PLC0415

    clock = SystemClock()
    try:
        prepared = prepare(endpoint)
    except (ValueError, OSError) as error:
        raise ConfigError([Problem("", "url", endpoint.url, f"the endpoint cannot be probed: {error}", "check the options")]) from None

    async def session() -> Result:
        context = make_context(clock, system.policy, nameservers=system.settings.nameservers or None)
        try:
            return await run_probe(endpoint, prepared, context, clock.now_ms())
        finally:
            await context.close()

    return asyncio.run(session())


def result_row(endpoint: Endpoint, result: Result, *, debug: bool) -> dict[str, Any]:
    """What a person wants to know of a result; with `debug` everything that was seen."""
    row: dict[str, Any] = {
        "url": endpoint.url,
        "verdict": _VERDICTS[result.outcome],
        "outcome": result.outcome.value,
        "failure": result.failure.value if result.failure else None,
        "text": result.text,
        "status": result.status or None,
        "duration_ms": round(result.duration_ms, 2),
        "phases": shown_phases(result.phases, as_text=not debug),
    }
    if debug:
        certificate = result.certificate
        row |= {
            "ip": result.ip,
            "http_version": result.http_version,
            "final_url": result.final_url,
            "body_bytes": result.body_bytes,
            "attempts": result.attempts,
            "attempt_texts": list(result.attempt_texts),
            "certificate": {name: getattr(certificate, name) for name in certificate.__struct_fields__} if certificate else None,
        }
    return row


def shown_phases(phases: Phases, *, as_text: bool) -> dict[str, Any]:
    """The length of each phase, for a table or as numbers."""
    if as_text:
        return {name.removesuffix("_ms"): f"{getattr(phases, name):.1f}ms" for name in phases.__struct_fields__}
    return {name: round(getattr(phases, name), 3) for name in phases.__struct_fields__}
