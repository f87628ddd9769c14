"""A service that balances its requests over a pool, in threads: `python -m examples.service.balance REDIS_URL [POOL [FILE]]`."""

from __future__ import annotations

import collections
import contextlib
import sys
import time

import httpx

from monitor.client import HealthView, NoEndpoint

ATTEMPTS = 2
PAUSE_S = 0.02
REPORT_EVERY_S = 1.0


def get(view: HealthView, http: httpx.Client, pool: str, path: str) -> tuple[str, httpx.Response]:
    """One request to whoever may take it; a failure is tried once more, elsewhere if the wheel says so.

    Raises NoEndpoint when the pool has nobody, or sheds this request; httpx.HTTPError when every attempt failed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        endpoint, began_s = view.pick(pool, shed=True), time.monotonic()
        try:
            response = http.get(endpoint.base_url + path)
        except httpx.HTTPError as error:
            view.report(endpoint, "timeout" if isinstance(error, httpx.TimeoutException) else "failure", time.monotonic() - began_s)
            if attempt == ATTEMPTS:
                raise
            continue
        well = response.status_code < 500
        view.report(endpoint, "success" if well else "failure", time.monotonic() - began_s, response.status_code)
        if well or attempt == ATTEMPTS:
            return endpoint.id, response
    raise AssertionError("the last attempt returns or raises")


def main(redis_url: str, pool: str = "demo", last_good: str | None = None) -> None:
    with HealthView(redis_url, pools=[pool], cache_file=last_good) as view, httpx.Client(timeout=1.0) as http:
        served: collections.Counter[str] = collections.Counter()
        next_report_s = time.monotonic() + REPORT_EVERY_S
        while True:
            try:
                endpoint_id, response = get(view, http, pool, "/")
                served[endpoint_id if response.is_success else f"{endpoint_id} error"] += 1
            except NoEndpoint as refusal:
                served[refusal.reason] += 1
            except httpx.HTTPError as error:
                served[type(error).__name__] += 1
            if time.monotonic() >= next_report_s:
                shares = "  ".join(f"{endpoint.id}={endpoint.weight}" for endpoint in view.endpoints(pool))
                print(f"{view.freshness(pool).freshness:7} weights {shares or '-'}  served {dict(sorted(served.items()))}", flush=True)
                served.clear()
                next_report_s += REPORT_EVERY_S
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:4])
