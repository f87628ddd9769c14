"""The scripts that the page about published state shows are what a consumer in any language runs: as text, with a Redis client alone."""

from __future__ import annotations

import json
import re

import redis

from monitor.store import keys
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/reference/keys.md").read_text()
OBSERVER = "web-1:4711"
TOKEN = f"{OBSERVER}/8f3a"


def text(name: str) -> str:
    found = re.search(rf"<!-- made from code: {name} -->\n```lua\n(.*?)```\n", PAGE, re.DOTALL)
    assert found, name
    return found[1]


def spoken(name: str) -> list[str]:
    """Keys and arguments as the page says them."""
    found = re.search(rf"^`EVAL {name} (\d+) ([^`]+)`", PAGE, re.MULTILINE)
    assert found, name
    words = found[2].split()
    return [found[1], *words]


def test_the_page_leads_through_a_trial(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        count, *words = spoken("grant_trial")
        assert client.eval(text("grant_trial"), int(count), *words) == ["none"]
        client.hset(keys.trials("shop"), "shop-1", "7 5 4 10000")
        what, gen, lease_ms, until_ms = client.eval(text("grant_trial"), int(count), *words)
        assert (what, gen, lease_ms) == ("granted", 7, 10_000)
        assert abs(until_ms - client.time()[0] * 1_000 - 10_000) < 2_000
        assert client.eval(text("grant_trial"), int(count), *words[:-1], f"{OBSERVER}/other") == ["busy"]
        assert client.zscore(keys.trial("shop", "shop-1"), f"7:{TOKEN}") == until_ms

        count, *words = spoken("end_trial")
        assert client.eval(text("end_trial"), int(count), *words) == "counted"
        assert client.eval(text("end_trial"), int(count), *words) == "lost"
        assert client.hget(keys.trials_issued("shop"), "shop-1") == "7 1 0 1 0"
        ((_, fields),) = client.xrange(keys.reports("shop"))
        shown = re.search(r"^`(\{\"schema\":1,\"trial\".*?\})`", PAGE, re.MULTILINE)
        assert shown
        assert json.loads(fields["r"]) == json.loads(shown[1])
