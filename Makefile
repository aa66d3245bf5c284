# Everything a person or CI does with this repository. `make help` lists it.
#
# Needs python3 (3.11 or newer) with its venv module, make and git. npm is used where it is found (see e2e-tools).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# The real client and the conformance suite, for the end-to-end tests: outside the checkout.
E2E_CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/securecontext-e2e

UV_VERSION := 0.13.9
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A lint or type check looks at these; what does not exist yet is left out.
MYPY_PATHS := src $(wildcard plugin)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-team test test-postgres lint format bench e2e e2e-tools soak fuzz docs lock lock-upgrade clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## set up, then do the main job on this very repository and show it
	$(BIN)/python -m demo

demo-team: $(VENV)/.dev ## an orchestrator and three workers on PostgreSQL, one of which is killed at its work
	$(BIN)/python -m demo.team

# Files are handed to as many processes as there are processors; the tests of one file stay in one.
JOBS ?= auto
test: lint e2e-tools ## set up, lint, and run every test
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile
	E2E_ENGINE=postgres $(BIN)/python -m pytest $(SOME_ON_POSTGRES)

# What a service does for its clients, once more with the data in PostgreSQL. `make test` has some of it, this all of it.
SOME_ON_POSTGRES := tests/acceptance/test_queue_at_each_door.py
ON_POSTGRES := tests/acceptance tests/boundaries tests/fuzz tests/unit/hooks tests/unit/pipeline tests/unit/service
test-postgres: $(VENV)/.dev e2e-tools ## every test that goes through a service, with the data in PostgreSQL
	E2E_ENGINE=postgres $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ON_POSTGRES)

lint: $(VENV)/.dev ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(MYPY_PATHS)
	PYTHONPATH=src $(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## bring the code into its usual form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## measure against a floor in the same run, and write the table
	$(BIN)/python -m bench

e2e: $(VENV)/.dev e2e-tools ## only the tests with the real client
	$(BIN)/python -m pytest tests/acceptance

soak: $(VENV)/.dev ## many sessions for a long time, deep state machines, the lines of the image
	$(BIN)/python -m bench.soak
	$(BIN)/python -m bench.queue_soak
	$(BIN)/python -m pytest --hypothesis-profile=deep tests/property/test_ledger_machine.py \
	    tests/property/test_anchored_machine.py
	$(BIN)/python -m tests.image_lines
	$(BIN)/python -m tests.openapi_attack

FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.fuzz ## parsers, validators and doors under senseless input, FUZZ_SECONDS=600 in all
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

docs: $(VENV)/.dev ## write the generated reference pages again
	$(BIN)/python -m docs.generate

# The runtime's packages, every one with its hash, and the package itself on top of them. hatchling, which builds it,
# comes from a lock as well: nothing is downloaded that a lock does not name.
$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --require-hashes -r requirements-build.lock -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# Coverage leads the fuzzer where its package has a wheel (see pyproject.toml); elsewhere chance does.
$(VENV)/.fuzz: $(VENV)/.dev requirements-fuzz.lock
	$(PIP) install --require-hashes -r requirements-fuzz.lock
	@touch $@

e2e-tools: ## the real client and the conformance suite, where npm is found
	@bash tests/e2e/install-tools "$(E2E_CACHE)"

# Locks hold for Python 3.11 and newer on every platform, and name no index. `lock` keeps versions that still fit.
LOCK = $(VENV)/.uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

lock: ## write the requirement locks again from pyproject.toml
	$(PYTHON) -m venv $(VENV)/.uv
	$(VENV)/.uv/bin/python -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) pyproject.toml --extra postgres --constraints requirements.lock --output-file requirements-postgres.lock
	$(LOCK) --group build --output-file requirements-build.lock
	$(LOCK) --group fuzz --output-file requirements-fuzz.lock
	$(LOCK) pyproject.toml --group dev --constraints requirements.lock --constraints requirements-build.lock \
	    --output-file requirements-dev.lock

lock-upgrade: UPGRADE = --upgrade
lock-upgrade: lock ## the same with the newest versions that fit

clean: ## remove what was built; the cache of e2e-tools stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
