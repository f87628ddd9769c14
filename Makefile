# `make` lists the targets. Everything lives in .venv; after the first `make setup` nothing needs the network.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first interpreter that is new enough; `make PYTHON=/path/to/python` overrides it.
PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3; do \
	if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$$name"; break; fi; done)
BIN := .venv/bin
# Those that decide and read, without servers and sockets: together about half a minute of processor time.
PURE_TESTS := tests/unit/core tests/unit/traffic tests/unit/alert_rules tests/unit/alerting tests/unit/publishing $(wildcard tests/unit/test_*.py) tests/docs/test_generated_pages.py
STAMP := .venv/.installed

.PHONY: help setup up demo test check coverage bench simulate fuzz docs test-compose

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

setup: $(STAMP) ## Make .venv with the pinned dependencies
	@:

$(STAMP): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "error: Python 3.11 or newer is needed; none was found. Give one: make PYTHON=/path/to/python" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than Python 3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || { echo "making .venv with $(PYTHON)"; "$(PYTHON)" -m venv --clear .venv; }
	@echo "installing the pinned dependencies"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

up: setup ## Run the whole system until Ctrl-C
	@$(BIN)/watchkeeper up

demo: setup ## Watch a service fail and recover, in about a minute
	@$(BIN)/python -m examples.demo

test: setup ## Run all tests
	@$(BIN)/python -m pytest -n auto

check: setup ## Lint, format, types, architecture and coverage of the pure code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory coverage | tail -n 1

coverage: setup ## Show which lines of the pure code the unit tests do not execute
	@out=$$($(BIN)/python -m coverage run -m pytest -p no:xdist -p no:cacheprovider --hypothesis-seed=0 $(PURE_TESTS) 2>&1) || { echo "$$out" >&2; exit 1; }
	@$(BIN)/python -m coverage report || { echo "less of the pure code is executed than pyproject.toml asks for" >&2; exit 1; }
	@echo "coverage of the pure code: $$($(BIN)/python -m coverage report --format=total --fail-under=0) %"

simulate: setup ## Live through many seeds of cruel weather: SEEDS=10000; one again: SEED=17 WEATHER=storm; MUTATIONS=1
	@$(BIN)/python -m tests.simulation.run --seeds $(or $(SEEDS),1000) $(if $(FIRST),--first $(FIRST)) $(if $(SEED),--seed $(SEED)) \
		$(if $(WEATHER),--weather $(WEATHER)) $(if $(MUTATIONS),--mutations)

fuzz: setup ## Send rubbish to every part for a while: HOURS=8; a round again: FIRST=17
	@$(BIN)/python -m tests.fuzz.run --hours $(or $(HOURS),1) $(if $(FIRST),--first $(FIRST))

bench: setup ## Measure, beside peers where they are installed
	@$(BIN)/python -m benchmarks

docs: setup ## Write the parts of the docs that are made from code; fail when one differed
	@$(BIN)/python -m docs.generate

test-compose: setup ## Test docker-compose.yml; needs a container engine
	@$(BIN)/python -m pytest -m compose tests/compose
