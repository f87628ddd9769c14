"""What was reported, sorted: who is heard, which seconds of which endpoints were seen by whom, and which trials have ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from monitor.core import reports
from monitor.core.reports import REPORT_SLOT_MS, Report, ReportError, Trial, TrialReport
from monitor.pool.traffic.observers import ENDPOINTS_MIN, OBSERVERS_MAX, early_or_late, heard, weighed
from monitor.pool.traffic.shapes import ObserverState
from monitor.pool.traffic.slots import Seen, seen


class Intake:
    """Entries that count, and `counters` of all. `refused` are those that cannot be read: their ids, what they say, and why."""

    def __init__(self, known: Mapping[str, ObserverState], members: set[str], now_ms: int) -> None:
        self.observers = dict(known)
        self.counters: Counter[str] = Counter()
        self.refused: list[tuple[str, bytes, str]] = []
        self.seconds: dict[int, dict[str, list[Seen]]] = {}
        self.trials: list[tuple[int, Trial]] = []
        self._members = members
        self._now_ms = now_ms

    def entry(self, entry_id: str, data: bytes) -> None:
        """Take one entry of the stream."""
        self.counters["reports"] += 1
        try:
            found = reports.decode(data)
            if isinstance(found, TrialReport):
                self._trial(entry_id, found.trial)
            else:
                self._report(found)
        except ReportError as error:
            self.counters["reports_refused"] += 1
            self.refused.append((entry_id, data, str(error)))

    def _trial(self, entry_id: str, trial: Trial) -> None:
        if trial.endpoint in self._members:
            self.trials.append((int(entry_id.partition("-")[0]), trial))
        else:
            self.counters["reports_unknown"] += 1

    def _report(self, report: Report) -> None:
        slot_ms, name = report.slot_ms - report.slot_ms % REPORT_SLOT_MS, report.observer
        if when := early_or_late(slot_ms, self._now_ms):
            self.counters[f"reports_{when}"] += 1
            return
        before = self.observers.get(name)
        if before is None and len(self.observers) >= OBSERVERS_MAX:
            self.counters["reports_unheard"] += 1
            return
        known = [(endpoint_id, seen(name, counters)) for endpoint_id, counters in report.endpoints.items() if endpoint_id in self._members]
        after = heard(before, report.seq, slot_ms, self._now_ms)
        if after is None:
            self.counters["reports_duplicated"] += 1
            return
        self.counters["report_counters"] += len(known)
        self.counters["reports_unknown"] += len(report.endpoints) - len(known)
        if len(self._members) >= ENDPOINTS_MIN:
            failing = sum(2 * one.failed >= one.total > 0 for _, one in known)
            used = sum(one.total > 0 for _, one in known)
            if used >= ENDPOINTS_MIN:
                after = weighed(after, before.newest_ms if before else slot_ms, failing, used)
        self.observers[name] = after
        second = self.seconds.setdefault(slot_ms, {})
        for endpoint_id, one in known:
            second.setdefault(endpoint_id, []).append(one)
