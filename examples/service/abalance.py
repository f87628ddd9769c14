"""The same in asyncio: twenty requests at a time, and every change as it comes: `python -m examples.service.abalance REDIS_URL [POOL]`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import httpx

from monitor.client import HealthView, NoEndpoint

CONCURRENT = 20
PAUSE_S = 0.1


async def requests(view: HealthView, http: httpx.AsyncClient, pool: str) -> None:
    while True:
        try:
            endpoint = view.pick(pool)
        except NoEndpoint as refusal:
            print(refusal)
            await asyncio.sleep(1)
            continue
        began_s = time.monotonic()
        try:
            code = (await http.get(endpoint.base_url)).status_code
            view.report(endpoint, "success" if code < 500 else "failure", time.monotonic() - began_s, code)
        except httpx.TimeoutException:
            view.report(endpoint, "timeout", time.monotonic() - began_s)
        except httpx.HTTPError:
            view.report(endpoint, "failure", time.monotonic() - began_s)
        await asyncio.sleep(PAUSE_S)


async def changes(view: HealthView, pool: str) -> None:
    async for change in view.watch(pool):
        weight = change.new.weight if change.new else 0
        print(f"{change.id:20} weight {weight:4}  {change.why}", flush=True)


async def main(redis_url: str, pool: str = "demo") -> None:
    async with HealthView(redis_url, pools=[pool]) as view, httpx.AsyncClient(timeout=1.0) as http, asyncio.TaskGroup() as tasks:
        tasks.create_task(changes(view, pool))
        for _ in range(CONCURRENT):
            tasks.create_task(requests(view, http, pool))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:3]))
