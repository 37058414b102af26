# make demo        a small chat application whose answers get feedback (ONCE=1: run through it and stop)
# make test        lint, types, the whole suite on the newest OpenTelemetry SDK, its floor part on the lowest
# make lint | types | test-newest | test-floor        each of these alone
# make test-slow   the tests that mostly wait: outages of minutes, a kill at every single step
# make test-sdk SDK=1.42.1        the floor part on any SDK release between
# make bench       the benchmarks
# make collector   build the collector that tests and demo use, unless it is there; print its path
# make pins        make requirements/*.txt again from *.in (needs uv)
# make clean       remove what the above left in this directory
#
# All that a machine needs is Python 3.10 or newer with venv and pip (on Debian: apt-get install python3-venv).
#   PYTHON=…         the interpreter for .venv (default python3)
#   FLOOR_PYTHON=…   the interpreter for .venv-floor (default: a Python 3.10 if there is one, else PYTHON)
#   OTELCOL=…        a collector to use instead of building one
#   PYTEST_FLAGS=…   more arguments for pytest

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
PYTEST_FLAGS ?=
PINS_FLAGS ?=
SDK ?= 1.42.1

# A version manager's python3.10 may be a stub that only explains how to switch to it, so each candidate is run.
FLOOR_CANDIDATES := python3.10 "env PYENV_VERSION=3.10 python3.10"
FLOOR_PYTHON ?= $(shell for each in $(FLOOR_CANDIDATES); do \
	$$each -c 'import ensurepip, venv' >/dev/null 2>&1 && { echo "$$each"; exit; }; done; echo "$(PYTHON)")

CODE := $(wildcard otel_llm_feedback tests demo benchmarks scripts)
PROJECT := pyproject.toml otel_llm_feedback/version.py
PIP := -m pip --disable-pip-version-check install --quiet --no-deps

# $(call environment,PYTHON,DIRECTORY): create a virtual environment, or say what is missing.
define environment
	@$(1) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: '$(1)' is not a Python 3.10 or newer; name one with $(3)=…" >&2; exit 1; }
	@$(1) -c 'import ensurepip, venv' || \
	  { echo "error: '$(1)' cannot create virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "setting up $(2)"
	@$(1) -m venv --clear $(2)
endef

.PHONY: help
help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

# Environments. Each has a stamp that is newer than everything it was made from.

.venv/stamp: requirements/dev.txt $(PROJECT)
	$(call environment,$(PYTHON),.venv,PYTHON)
	@.venv/bin/python $(PIP) -r requirements/dev.txt
	@.venv/bin/python $(PIP) --no-build-isolation -e .
	@touch $@

.venv-floor/stamp: requirements/floor.txt $(PROJECT)
	$(call environment,$(FLOOR_PYTHON),.venv-floor,FLOOR_PYTHON)
	@.venv-floor/bin/python $(PIP) -r requirements/floor.txt
	@.venv-floor/bin/python $(PIP) --no-build-isolation -e .
	@touch $@

# One SDK release between the lowest and the newest: pip finds what belongs to it; the tools stay as pinned.
.venv-sdk-$(SDK)/stamp: requirements/floor.txt requirements/tests.in $(PROJECT)
	$(call environment,$(PYTHON),.venv-sdk-$(SDK),PYTHON)
	@grep -vE '^(grpcio|googleapis|importlib|opentelemetry|protobuf|wrapt|zipp)' requirements/floor.txt > $(@D)/tools.txt
	@.venv-sdk-$(SDK)/bin/python $(filter-out --no-deps,$(PIP)) -c $(@D)/tools.txt -r requirements/tests.in \
	  opentelemetry-sdk==$(SDK) opentelemetry-exporter-otlp==$(SDK) opentelemetry-instrumentation
	@.venv-sdk-$(SDK)/bin/python $(PIP) --no-build-isolation -e .
	@touch $@

# Checks.

.PHONY: test lint types test-newest test-floor test-slow test-sdk
test: lint types test-newest test-floor

lint: .venv/stamp
	.venv/bin/ruff check $(CODE)
	.venv/bin/ruff format --check $(CODE)

types: .venv/stamp
	.venv/bin/mypy $(CODE)

test-newest: .venv/stamp
	@mkdir -p .coverage
	OTELCOL=$$(.venv/bin/python scripts/collector.py) && export OTELCOL && \
	  .venv/bin/coverage run -m pytest -m "not slow" $(PYTEST_FLAGS)
	@.venv/bin/coverage combine --quiet
	.venv/bin/coverage report

test-floor: .venv-floor/stamp
	OTELCOL=$$(.venv-floor/bin/python scripts/collector.py) && export OTELCOL && \
	  .venv-floor/bin/python -m pytest -m "not newest and not slow" $(PYTEST_FLAGS)

test-slow: .venv/stamp
	OTELCOL=$$(.venv/bin/python scripts/collector.py) && export OTELCOL && \
	  .venv/bin/python -m pytest -m slow $(PYTEST_FLAGS)

test-sdk: .venv-sdk-$(SDK)/stamp
	OTELCOL=$$(.venv-sdk-$(SDK)/bin/python scripts/collector.py) && export OTELCOL && \
	  .venv-sdk-$(SDK)/bin/python -m pytest -m "not newest and not slow" $(PYTEST_FLAGS)

# Programs.

.PHONY: demo bench collector
# The demo takes a collector that is there; it does not make anybody wait for a build.
demo: .venv/stamp
	@OTELCOL=$$(.venv/bin/python scripts/collector.py --cached || [ $$? -eq 1 ]) && export OTELCOL && \
	  exec .venv/bin/python -m demo $(if $(ONCE),--once)

bench: .venv/stamp
	.venv/bin/python -m benchmarks

collector: .venv/stamp
	@.venv/bin/python scripts/collector.py

# Upkeep.

.PHONY: pins clean
UV_COMPILE := pip compile --quiet --universal --python-version 3.10 --no-python-downloads --no-emit-index-url \
	--no-annotate --custom-compile-command "make pins" $(PINS_FLAGS)
pins:
	uv $(UV_COMPILE) --override requirements/dev.overrides requirements/dev.in -o requirements/dev.txt
	uv $(UV_COMPILE) requirements/floor.in -o requirements/floor.txt

clean:
	rm -rf .venv .venv-floor .venv-sdk-* .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache out build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
