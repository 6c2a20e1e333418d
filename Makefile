# Two commands do everything: `make demo` and `make test`. Each sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= python3
ARGS   ?=
# xds-protos carries an old copy of this one's files; the later of the two to be installed wins.
LAST   := opentelemetry-proto

.PHONY: help setup demo test test-vllm soak lint format clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Create .venv with everything in it

# A file and not a phony target: nothing is installed twice. uv is used when it is there.
$(VENV)/.ready: pyproject.toml requirements.txt
	@echo "setting up $(VENV) (about a minute the first time)"
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python "$(PYTHON)" $(VENV); \
	  VIRTUAL_ENV=$(VENV) uv pip install --quiet -c requirements.txt -e '.[test,lint]'; \
	  VIRTUAL_ENV=$(VENV) uv pip install --quiet --reinstall --no-deps -c requirements.txt $(LAST); \
	else \
	  "$(PYTHON)" -m venv $(VENV); \
	  $(BIN)/pip install --quiet --disable-pip-version-check -c requirements.txt -e '.[test,lint]'; \
	  $(BIN)/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps \
	    -c requirements.txt $(LAST); \
	fi
	@touch $@

demo: setup ## Everything on one machine: Envoy, router, simulated fleet (ARGS="--requests 400 --exit")
	@$(BIN)/headrace demo $(ARGS)

test: setup ## Lint and all tests that need no extra gigabytes (ARGS="-k name")
	@tests/install-prometheus
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=loadfile $(ARGS)

test-vllm: setup ## Two real vLLMs on CPU behind Envoy (installs 2.5 GB into .cache the first time)
	$(BIN)/python -m pytest tests/e2e --run-vllm --timeout=900 $(ARGS)

soak: setup ## A router under load for an hour (ARGS="--duration-seconds 600")
	@$(BIN)/headrace bench soak $(ARGS)

lint: setup ## ruff, mypy --strict, import contracts, size budget
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@said=$$($(BIN)/lint-imports --no-cache) || { echo "$$said"; exit 1; }
	@$(BIN)/python tests/size_budget.py
	@echo "lint: ruff, mypy --strict, import contracts and size budget are clean"

format: setup ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

clean: ## Remove what setup and tests made
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
