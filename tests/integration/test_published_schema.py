"""What is really written of a pool has the fields that docs/reference/keys.md names, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.published_pool import publish_pool

PAGE = (Path(__file__).parents[2] / "docs/reference/keys.md").read_text()


def documented(after: str) -> set[str]:
    """The names in the first column of the table that follows on these words."""
    table = PAGE.partition(after)[2].partition("\n|")[2].partition("\n\n")[0].splitlines()
    return {name for row in table if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_snapshot_endpoint_and_delta_have_the_documented_fields(redis_url: str) -> None:
    snapshot, delta = publish_pool(redis_url)
    assert snapshot.keys() | {"tombstone"} == documented("## Snapshot\n")
    assert all(endpoint.keys() == documented("Each endpoint:\n") for endpoint in snapshot["endpoints"] + delta["endpoints"])
    (names,) = re.findall(r"A delta has `([\w ]+)`", PAGE)
    assert delta.keys() | {"tombstone"} == set(names.split())


def test_what_is_written_of_a_member_that_users_try_says_so(redis_url: str) -> None:
    snapshot, _ = publish_pool(redis_url)
    first, _, tried = snapshot["endpoints"]
    assert (tried["breaker"], tried["policy"], tried["rule"], tried["weight"], tried["trial_share"]) == (
        "HALF_OPEN",
        "cusum",
        "cusum",
        10,
        0.01,
    )
    assert (first["policy"], first["rule"], first["trial_share"], first["base"], first["why"]) == (
        "",
        "",
        0,
        0.3333,
        "nothing is known of it",
    )
    assert sum(endpoint["weight"] for endpoint in snapshot["endpoints"]) == 1000
