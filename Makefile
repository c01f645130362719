# `make` lists what there is. Needs git, make and Python 3.11 or newer with venv; everything else comes into the
# checkout: .venv (the project), .tools (programs whose pins conflict with it), .twin (the local twin), .bench (what
# `make bench` measures against; it needs nginx and node, too, and says how to get them).

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules
SHELL := /bin/sh

PYTHON ?= python3
UV := .tools/uv/bin/uv
SAM := .tools/sam/bin/python -m samcli
IN_VENV := .venv/bin/python -m
export SAM_CLI_TELEMETRY := 0

SETUP := .venv/.ready .tools/sam/.ready .tools/twin/.ready
AUDIT := .tools/audit/.ready

.PHONY: help setup build sbom build-twin up down demo lint audit format test test-full local-invoke bench soak requirements clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' $(MAKEFILE_LIST) | expand -t 18

# ---- Seeing it work ----

demo: $(SETUP)  ## import sample files into an embedded AWS and show what happened; leaves nothing running
	@$(IN_VENV) cli.demo

up: $(SETUP)  ## start a local twin of the deployed project and leave it running; names in .twin/outputs.json
	@$(IN_VENV) cli.twin up

down: $(SETUP)  ## stop the local twin and forget what it held
	@$(IN_VENV) cli.twin down

# ---- Checking it ----

lint: $(SETUP) $(AUDIT)  ## style, types, templates, and what is known of weaknesses
	@echo "lint: ruff"
	@$(IN_VENV) ruff check --quiet --output-format concise .
	@$(IN_VENV) ruff format --quiet --check . || { echo "lint: run 'make format'" >&2; exit 1; }
	@echo "lint: mypy"
	@$(IN_VENV) mypy --no-error-summary
	@echo "lint: template"
	@.venv/bin/cfn-lint template.yaml
	@$(SAM) validate --lint >/dev/null
	@$(MAKE) audit

audit: $(AUDIT)  ## checkov and cfn-guard on the expanded template, bandit on the code: docs/threat-model.md
	@echo "lint: audit"
	@.tools/audit/bin/python scripts/audit

format: .venv/.ready  ## let ruff put style in order
	@$(IN_VENV) ruff check --quiet --fix .
	@$(IN_VENV) ruff format --quiet .

test: lint  ## everything a change must pass
	@$(IN_VENV) pytest -q -n auto --dist loadgroup

test-full: lint  ## the slow tests too, then the whole fault table (hours; goes on where it was stopped)
	@$(IN_VENV) pytest -q -n auto --dist loadgroup -m "not bench" --whole
	@$(IN_VENV) tests.faults.table

local-invoke: $(SETUP)  ## every sample of events/ through `sam local invoke` in a container: docs/sam-local.md
	@$(IN_VENV) pytest -q -n 0 -m engine tests/local

bench: $(SETUP) .bench/.ready  ## measure against what people write today: docs/benchmarks; BENCH="--help", "--quick" …
	@$(IN_VENV) tests.bench $(BENCH)
	@if [ -z "$(BENCH)" ]; then $(IN_VENV) pytest -q -s -m bench; fi

soak: $(SETUP)  ## a big import on a twin of its own, its workers killed: docs/soak.md; SOAK="--bytes 360MB …"
	@$(IN_VENV) tests.soak $(SOAK)

# ---- Deploying it: `make build`, then `sam deploy` ----

build: $(SETUP)  ## build what is deployed (python3.13 on arm64, from wheels) into .aws-sam
	@echo "build: python3.13 on arm64"
	@printed=$$(UV="$(CURDIR)/$(UV)" $(SAM) build 2>&1) || { echo "$$printed" >&2; exit 1; }; \
		echo "$$printed" | grep '^build: ' | sort -u
	@.venv/bin/python scripts/sbom

sbom: build  ## what the package is made of, as CycloneDX: .aws-sam/sbom.cdx.json, which every build writes
	@echo .aws-sam/sbom.cdx.json

build-twin: $(SETUP)  ## build the same template for this machine into .twin/build
	@$(IN_VENV) cli.twin build

# ---- Tools ----

setup: $(SETUP) $(AUDIT)  ## install everything into the checkout (every target does it when needed)

.tools/uv/.ready: requirements-uv.txt
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "setup: Python 3.11 or newer with venv is needed; name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setup: uv"
	@$(PYTHON) -m venv --clear .tools/uv
	@.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@touch $@

# $(call install,folder,pins). uv does not read pip's configuration: where only pip knows the way to packages (a mirror,
# a folder of wheels), pip does it.
define install
	@echo "setup: $(1)"
	@$(UV) venv --quiet --clear --python .tools/uv/bin/python $(1)
	@$(UV) pip install --quiet --python $(1) --require-hashes -r $(2) || { echo "setup: uv failed, trying pip"; \
		.tools/uv/bin/python -m pip --python $(1) install --quiet --require-hashes -r $(2); }
endef

.venv/.ready: requirements-dev.txt pyproject.toml .tools/uv/.ready
	$(call install,.venv,requirements-dev.txt)
	@$(UV) pip install --quiet --python .venv --offline --no-deps --no-build-isolation --editable .
	@touch $@

.tools/sam/.ready: requirements-sam.txt .tools/uv/.ready
	$(call install,.tools/sam,requirements-sam.txt)
	@touch $@

.tools/twin/.ready: requirements-twin.txt .tools/uv/.ready
	$(call install,.tools/twin,requirements-twin.txt)
	@touch $@

.tools/audit/.ready: requirements-audit.txt .tools/uv/.ready
	$(call install,.tools/audit,requirements-audit.txt)
	@touch $@

# The baselines' packages: Python's into a virtual environment, Node's beside it; nginx, node and npm are the system's.
.bench/.ready: requirements-bench.txt tests/bench/baselines/package.json | $(SETUP)
	@$(IN_VENV) tests.bench.rig
	@mkdir -p .bench/node
	$(call install,.bench/venv,requirements-bench.txt)
	@echo "setup: .bench/node"
	@cp tests/bench/baselines/package.json .bench/node/
	@cd .bench/node && npm install --no-package-lock --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

PINS := src/handler/requirements $(addprefix requirements-,audit bench dev image sam twin uv)
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(UPGRADE)

requirements: .tools/uv/.ready  ## pin what the .in files ask for; with UPGRADE=--upgrade, the newest there is
	@for pins in $(PINS); do echo "requirements: $$pins.txt"; $(COMPILE) $$pins.in -o $$pins.txt >/dev/null || exit 1; done

clean:  ## stop the twin and remove everything made here
	@if [ -x .venv/bin/python ]; then $(IN_VENV) cli.twin down; fi
	@rm -rf .venv .tools .twin .bench .aws-sam .faults .mypy_cache .pytest_cache .ruff_cache .hypothesis ./*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
