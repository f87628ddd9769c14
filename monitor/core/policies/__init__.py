"""Trip policies: one file each, one row each in the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.core.policies.consecutive import Consecutive
from monitor.core.policies.cusum import Cusum
from monitor.core.policies.envoy import Envoy
from monitor.core.policies.hystrix import Hystrix
from monitor.core.policies.policy import Policy
from monitor.core.policies.resilience4j import Resilience4j

POLICIES: Final[Mapping[str, Policy]] = {policy.name: policy for policy in (Consecutive(), Hystrix(), Resilience4j(), Envoy(), Cusum())}
