"""A service that balances its requests over a pool and reports how they ended: `consumer.py REDIS_URL POOL NAME BROKEN`.

While the file BROKEN exists, something is wrong on its side: it reaches nobody.
"""

from __future__ import annotations

import http.client
import sys
import time
from pathlib import Path

from monitor.client import EndpointView, HealthView, NoEndpoint

PAUSE_S = 0.1
NOWHERE = 9
"""A port on which nobody listens."""


def request(view: HealthView, endpoint: EndpointView, *, broken: bool) -> None:
    begun_s = time.monotonic()
    connection = http.client.HTTPConnection(endpoint.addr, NOWHERE if broken else endpoint.port, timeout=1)
    try:
        connection.request("GET", f"/{endpoint.id}")
        status = connection.getresponse().status
        view.report(endpoint, "success" if status < 500 else "failure", time.monotonic() - begun_s, status)
    except TimeoutError:
        view.report(endpoint, "timeout", time.monotonic() - begun_s)
    except OSError:
        view.report(endpoint, "failure", time.monotonic() - begun_s)
    finally:
        connection.close()


def main(redis_url: str, pool: str, name: str, broken: str) -> None:
    with HealthView(redis_url, pools=[pool], observer=name) as view:
        while True:
            try:
                request(view, view.pick(pool), broken=Path(broken).exists())
            except NoEndpoint as refusal:
                print(refusal, flush=True)
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(*sys.argv[1:5])
