"""The same series and the same rule: pending and firing at the same evaluations as in a real Prometheus."""

from __future__ import annotations

import random  # noqa: TID251 - series come from a seeded generator, so that a failure can be had again.
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from alert_rules.files.rule_file import parse_rule_text
from alert_rules.rules.alert import AlertState, AlertStatus
from alert_rules.rules.evaluate import evaluate
from alert_rules.rules.memory import EMPTY
from tests.acceptance.peers.peer import installed

MINUTE_MS = 60_000
SERIES = 40
LENGTH = 60
DURATIONS = ["0s", "1m", "2m", "90s", "5m", "7m"]

Timeline = list[AlertStatus | None]
"""The alert's state after each evaluation, a minute apart; None is inactive."""


class Case:
    def __init__(self, number: int, rng: random.Random) -> None:
        self.name = f"Rule{number}"
        self.for_text, self.keep_text = rng.choice(DURATIONS), rng.choice(DURATIONS)
        truth, self.truths = False, []
        for _ in range(LENGTH):
            truth = truth is not (rng.random() < 0.3)
            self.truths.append(truth)

    def rule(self, expr: str) -> dict[str, Any]:
        return {"alert": self.name, "expr": expr, "for": self.for_text, "keep_firing_for": self.keep_text}


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    rng = random.Random(1)
    return [Case(number, rng) for number in range(SERIES)]


def facts(truth: bool) -> dict[str, Any]:
    return {"endpoint": "e", "pool": "p", "outdated": False, "failures": int(truth)}


def rule_set(case: Case) -> Any:
    return parse_rule_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [case.rule("failures > 0")]}]}))


def at_every_minute(case: Case) -> Timeline:
    """Our rule, evaluated whenever Prometheus evaluates it."""
    rules, memory, found = rule_set(case), EMPTY, []
    for minute, truth in enumerate(case.truths):
        memory = evaluate(rules, {}, None, facts(truth), memory, minute * MINUTE_MS).memory
        found.append(_status(memory.states))
    return found


def at_changes_and_wakes(case: Case) -> Timeline:
    """Our rule as the system runs it: evaluated when its facts change, and when it asks to be."""
    rules, found, wake_ms = rule_set(case), [], 0
    memory = EMPTY
    old = None
    for minute, truth in enumerate(case.truths):
        now_ms = minute * MINUTE_MS
        while old is not None and 0 < wake_ms < now_ms:
            evaluation = evaluate(rules, {}, old, old, memory, wake_ms)
            memory, wake_ms = evaluation.memory, evaluation.wake_ms
        new = facts(truth)
        if old != new or wake_ms == now_ms:
            evaluation = evaluate(rules, {}, old, new, memory, now_ms)
            memory, wake_ms, old = evaluation.memory, evaluation.wake_ms, new
        found.append(_status(memory.states))
    return found


def _status(states: Sequence[AlertState]) -> AlertStatus | None:
    return states[0].status if states else None


def promtool_agrees(folder: Path, cases: Sequence[Case], timelines: Sequence[Timeline]) -> str:
    """What promtool says of our timelines; empty where it says that Prometheus' are the same."""
    rules = [case.rule(f'm{{case="{case.name}"}} > 0') for case in cases]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    series = [{"series": f'm{{case="{case.name}"}}', "values": " ".join(str(int(truth)) for truth in case.truths)} for case in cases]
    expected = [
        {
            "expr": f'ALERTS{{alertname="{case.name}"}}',
            "eval_time": f"{minute}m",
            "exp_samples": [] if status is None else [{"labels": _labels(case, status), "value": 1}],
        }
        for case, timeline in zip(cases, timelines, strict=True)
        for minute, status in enumerate(timeline)
    ]
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": expected}],
    }
    (folder / "test.yml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [installed("promtool"), "test", "rules", str(folder / "test.yml")], capture_output=True, text=True, timeout=100, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _labels(case: Case, status: AlertStatus) -> str:
    return f'ALERTS{{alertname="{case.name}", alertstate="{status.lower()}", case="{case.name}"}}'


def test_looking_at_every_evaluation(tmp_path: Path, cases: list[Case]) -> None:
    timelines = [at_every_minute(case) for case in cases]
    assert {status for timeline in timelines for status in timeline} == {None, *AlertStatus}
    assert promtool_agrees(tmp_path, cases, timelines) == ""


def test_promtool_would_say_if_it_were_otherwise(tmp_path: Path, cases: list[Case]) -> None:
    timeline = at_every_minute(cases[0])
    timeline[10] = AlertStatus.PENDING if timeline[10] is not AlertStatus.PENDING else AlertStatus.FIRING
    assert "10m" in promtool_agrees(tmp_path, cases[:1], [timeline])


def test_looking_at_changes_and_when_woken(tmp_path: Path, cases: list[Case]) -> None:
    """Durations that are no multiple of Prometheus' interval are left out: we wake in between, where it does not evaluate."""
    whole = [case for case in cases if "90s" not in (case.for_text, case.keep_text)]
    assert promtool_agrees(tmp_path, whole, [at_changes_and_wakes(case) for case in whole]) == ""
