"""The pages hold together: links lead somewhere, keys and dependencies are those of the code, the README is short."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import pytest

from monitor.client import HealthView
from monitor.core.reports import Counters, Report, Trial
from monitor.pool.snapshot import PublishedEndpoint, Snapshot
from monitor.store import keys
from monitor.web import metrics
from tests.docs.pages import PAGES, ROOT

README_LINES_MAX = 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), f"{target} is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:monitor|workers|alert_rules|tests|examples|benchmarks|docs)/[\w/.-]+)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists() and not is_defined(name)] == []


def is_defined(name: str) -> bool:
    """Whether `monitor/core/decide.decide` is something in monitor/core/decide.py."""
    module, _, attribute = name.rpartition(".")
    file = ROOT / f"{module}.py"
    return file.exists() and re.search(rf"^(?:def|class) {attribute}\b", file.read_text(), re.MULTILINE) is not None


def test_every_page_is_linked() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve() for page in PAGES for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    }
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in linked and page.name != "README.md"] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES_MAX


def test_the_published_keys_are_documented() -> None:
    page = (ROOT / "docs/reference/keys.md").read_text()
    legend = inspect.getdoc(keys) or ""
    documented = set(re.findall(r"^\| `(wk:v1:[^`]+)`", page, re.MULTILINE))
    assert documented == set(re.findall(r"^(wk:v1:\S+)", legend, re.MULTILINE))
    made = {keys.snapshot("pool"), keys.log("pool"), keys.channel("pool"), keys.POOLS, keys.ALIVE, keys.reports("pool"), keys.REPORTS}
    made |= {keys.trials("pool"), keys.trials_issued("pool"), keys.trial("pool", "<id>")}
    assert documented == made
    for struct in (Snapshot, PublishedEndpoint, Report, Counters, Trial):
        assert [name for name in struct.__struct_fields__ if f"`{name}`" not in page and f'"{name}"' not in page] == []


def test_the_legend_has_every_internal_key() -> None:
    legend = inspect.getdoc(keys) or ""
    constants = {value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}
    assert [key for key in constants if not re.search(rf"^{re.escape(key)}\s", legend, re.MULTILINE)] == []


def test_the_client_page_has_every_call() -> None:
    page = (ROOT / "docs/reference/client.md").read_text()
    calls = [name for name, _ in inspect.getmembers(HealthView, callable) if not name.startswith("_")]
    assert [name for name in calls if f"{name}(" not in page] == []


def test_the_metrics_are_documented() -> None:
    rows = re.findall(r"^\| `(\w+)`", (ROOT / "docs/reference/metrics.md").read_text(), re.MULTILINE)
    assert set(rows) == set(metrics.FAMILIES)


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.match(r"[\w-]+", line)[0] for line in wanted}
    explained = re.findall(r"^\| ([\w, -]+?) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    assert {name for cell in explained for name in cell.split(", ")} - {"package", "---"} == names
