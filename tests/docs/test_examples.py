"""What the pages tell people to write can be written: commands parse, files are read, programs compile."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from alert_rules.files.routing_file import parse_routing
from alert_rules.files.rule_file import load_rules
from monitor.cli.main import cli
from monitor.config.manifest import load_sources, read_manifest
from monitor.config.settings import PREFIX, Settings, load_settings
from tests.docs.pages import PAGES, ROOT, Block, blocks

_ASSIGNED = re.compile(r"(?:\w+=\S* )+")


def spoken_commands() -> Iterator[object]:
    """Every `watchkeeper ...` after a prompt, and every one in backquotes, without what the shell does with it."""
    for page in PAGES:
        if page.name == "commands.md":
            continue
        for number, line in enumerate(page.read_text().splitlines(), start=1):
            quoted = re.findall(r"`([^`]+)`", line)
            for text in [line.removeprefix("$ ")] if line.startswith("$ ") else quoted:
                found = re.search(r"(?:^|\s|/)watchkeeper (.+)$", _ASSIGNED.sub("", text, count=1))
                if found and "|" not in found[1].split(" ", 1)[0]:
                    words = shlex.split(re.split(r" [<>|&]|; done|\)\"", found[1])[0], comments=True)
                    yield pytest.param(words, id=f"{page.relative_to(ROOT)}:{number} {' '.join(words[:2])}")


@pytest.mark.parametrize("words", list(spoken_commands()))
def test_commands_exist_and_parse(words: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli, info_name="watchkeeper")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    if words and words != ["ENDPOINT"]:
        # A file that the reader writes is not here; any other file parses as well.
        values = [str(ROOT / "pyproject.toml") if word.endswith(".yml") and not word.startswith("/") else word for word in words]
        command.make_context(command.name, values, parent=context.parent)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_files_are_read_by_their_own_readers(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "file.yml"
    file.write_text(block.text)
    keys = set(yaml.safe_load(block.text))
    if "endpoints" in keys:
        assert read_manifest(load_sources([(str(block), block.text)])).endpoints
    elif "groups" in keys:
        assert load_rules([file], include_pack=False).rules
    elif "route" in keys:
        assert parse_routing(block.text).warnings == ()
    elif "scrape_configs" not in keys:  # Prometheus' own
        load_settings({}, config=file, env_file=None)


def replays() -> Iterator[object]:
    """Each history that a page shows, with the table that it shows after it, if it does."""
    for block in blocks("json"):
        if '"events"' in block.text and '"policy"' in block.text:
            shown = next((one.text for one in blocks("text") if one.page == block.page and one.line > block.line), "")
            yield pytest.param(block.text, shown, id=str(block))


@pytest.mark.parametrize(("history", "shown"), list(replays()))
def test_histories_are_played_as_their_page_shows(history: str, shown: str) -> None:
    result = CliRunner().invoke(cli, ["breaker", "replay", "-"], input=history)
    assert result.exit_code == 0, result.output
    assert not shown or result.stdout.split() == shown.split()


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_programs_compile(block: Block) -> None:
    compile(block.text, str(block), "exec")


def test_variables_are_settings() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {PREFIX + "CONFIG"}
    compose = (ROOT / "docker-compose.yml").read_text()
    for page in PAGES:
        for name in set(re.findall(rf"\b{PREFIX}[A-Z_]+", page.read_text())) - known:
            assert f"${{{name}" in compose, f"{page.relative_to(ROOT)} names {name}, which is neither a setting nor docker-compose.yml's"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        said = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", page.read_text()))
        assert said <= targets, f"{page.relative_to(ROOT)}: {said - targets}"
