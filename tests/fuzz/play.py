"""How the fuzz suite plays: in CI each test is short and plays the same cases; `make fuzz HOURS=8` plays others all night."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

ROUND = int(os.environ.get("FUZZ_ROUND", "0"))
"""0: the cases of CI. Any other number: cases of its own, and ten times as many."""

settings.register_profile(
    "fuzz",
    deadline=None,
    derandomize=ROUND == 0,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)


def cases(count: int) -> settings:
    """A test's settings: so many cases in CI, ten times as many in each round of a night."""
    return settings(settings.get_profile("fuzz"), max_examples=count * (10 if ROUND else 1))
