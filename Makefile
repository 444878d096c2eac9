# Everything needed is installed into $(VENV) with the versions in constraints.txt; nothing has to be set up by hand.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PYTEST_ARGS ?=
TEST_EXTRAS ?= dev,train,report,teachers,datasets,llm,mujoco,metaworld,minigrid,docs,ray,rllib,torchrl,tianshou,llm-training
XMINIGRID ?= 0.9.3

SHELL := /bin/bash
BIN := $(VENV)/bin

# Compiled kernels are kept inside the checkout: left in site-packages they would outlive an uninstall.
export NUMBA_CACHE_DIR := $(CURDIR)/.cache/numba
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call install,EXTRAS): an editable install, tried again when the network fails for a moment.
define install
	for wait in 5 20 0; do \
		"$(BIN)/python" -m pip install $(if $(CI),--quiet) --constraint constraints.txt --editable '.[$(1)]' && exit 0; \
		if [ $$wait != 0 ]; then echo "Installing failed; trying again in $$wait seconds."; sleep $$wait; fi; \
	done; \
	echo "Installing failed three times; pip says why above." >&2; exit 1
endef

.DEFAULT_GOAL := help
.PHONY: help setup benchmark leaderboard test check docs speed peers clean

help:  ## list these targets
	@echo "DayTwo: make TARGET [VENV=$(VENV)] [PYTHON=$(PYTHON)] [ARGS=...]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 15

setup: $(VENV)/.installed-report  ## install DayTwo and what the report needs into .venv (once)

benchmark: setup  ## run the baselines on the suite: leaves results.sqlite and report.html here (ARGS: daytwo benchmark's)
	"$(BIN)/daytwo" benchmark $(ARGS)

leaderboard: setup  ## evaluate every baseline for baselines/results and write the tables of README and docs from it
	"$(BIN)/daytwo" benchmark core,adapt --store leaderboard.sqlite --report leaderboard.html
	"$(BIN)/python" benchmarks/leaderboard.py leaderboard.sqlite

speed: setup  ## measure steps per second on this machine (ARGS: daytwo speed's)
	"$(BIN)/daytwo" speed $(ARGS)

peers: setup  ## install XLand-MiniGrid into .peers, apart from DayTwo, and measure against it
	test -x .peers/bin/python || "$(PYTHON)" -m venv .peers
	.peers/bin/python -m pip install --quiet 'xminigrid==$(XMINIGRID)'
	"$(BIN)/daytwo" speed --peers $(ARGS)

test: $(VENV)/.installed-test  ## install everything and run the tests (PYTEST_ARGS: pytest's)
	"$(BIN)/python" -m pytest -n 2 $(PYTEST_ARGS)

check: $(VENV)/.installed-test  ## lint, formatting, types, and what a built package holds
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/python" .ci/typecheck.py
	"$(BIN)/python" .ci/check_package.py

docs: $(VENV)/.installed-test  ## build the documentation site into site/; any warning is an error
	NO_MKDOCS_2_WARNING=1 "$(BIN)/mkdocs" build --strict

clean:  ## remove .venv, caches and build products (results and reports stay)
	rm -rf .venv .peers .cache .typecheck .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks site build dist *.egg-info
	find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "DayTwo needs Python 3.11 or newer; " \
		"$(PYTHON) is " + sys.version.split()[0] + ". Name another one with make PYTHON=...")'
	@$(PYTHON) -m venv "$(VENV)" || { \
		echo "Could not make a virtual environment (on Debian and Ubuntu it takes the package python3-venv)." >&2; exit 1; }
	@touch $@

$(VENV)/.installed-report: $(VENV)/.created setup.cfg pyproject.toml constraints.txt
	@$(call install,report)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.created setup.cfg pyproject.toml constraints.txt
	@$(call install,$(TEST_EXTRAS))
	@touch $@
