# Everything a developer or CI runs. Needs Python 3.11 or newer (with venv), git and make;
# the rest comes, checked by hash, into .venv on first use. Nothing has to be activated.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
PY := $(BIN)/python
READY := .venv/.ready

# Extra arguments for the command behind a target: make test ARGS='-k resume -x'
ARGS ?=

# Sets $$python to the first interpreter that starts, is new enough and can make a virtual
# environment. It has to start: a version manager's shim can stand for a version that is not
# there. What counts is the program behind the shim. PYTHON=... goes first.
PROBE := import ensurepip, sys, venv; assert sys.version_info >= (3, 11); print(sys._base_executable)
define find_python
python=; for name in $(PYTHON) python3.11 python3 python; do \
    if python=$$("$$name" -c '$(PROBE)' 2>/dev/null); then break; fi; python=; \
done; \
if [ -z "$$python" ]; then \
    echo 'No usable Python: ackline needs 3.11 or newer, with the venv module' >&2; \
    echo '(Debian, Ubuntu: apt install python3.11-venv). To name one: make PYTHON=/path/to/python' >&2; \
    exit 1; \
fi
endef

.PHONY: help
help: ## Show this list
	@echo "Usage: make <target> [ARGS='...']"
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)$$/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	    | while IFS='|' read -r name text; do printf '  %-11s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: $(READY) ## Make .venv with the locked dependencies and ackline itself (runs once)
	@echo '.venv is ready'

$(READY): requirements-dev.lock pyproject.toml hatch_build.py $(wildcard app/decoders/native/*.[ch])
	@if ! $(PY) -c 'import pip, sys; assert sys.version_info >= (3, 11)' 2>/dev/null; then \
	    $(find_python); \
	    echo "Making .venv with $$python"; \
	    "$$python" -m venv --clear .venv; \
	fi
	$(PY) -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(PY) -m pip install --quiet --no-build-isolation --no-deps --editable .
	@$(BIN)/ackline --version
	@touch $@

.PHONY: check
check: $(READY) ## Formatting, lint, types, import layers, generated files
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(BIN)/lint-imports --no-logo
	@if [ -f tests/support/generated.py ]; then \
	    echo '$(PY) -m tests.support.generated --check'; \
	    $(PY) -m tests.support.generated --check; \
	fi

.PHONY: test
test: $(READY) ## All tests
	$(PY) -m pytest $(ARGS)

.PHONY: soak
soak: $(READY) ## Simulate a million hostile schedules (fewer: ARGS='--schedules 50000')
	$(PY) -m tests.simulation $(ARGS)

.PHONY: mutants
mutants: $(READY) ## Plant known defects in a copy, one by one, and see tests turn red
	$(PY) -m tests.mutants $(ARGS)

# Kept apart from the locks: atheris has builds for few machines. Without one, chance must do.
FUZZ := .fuzz

.PHONY: fuzz
fuzz: $(READY) $(FUZZ)/.ready ## Fuzz the decoders, 5 minutes each (one: ARGS='--format json --seconds 60')
	PYTHONPATH=$(FUZZ)/packages $(PY) -m tests.fuzz $(ARGS)
	$(PY) -m tests.fuzz.native

$(FUZZ)/.ready: | $(READY)
	@mkdir -p $(FUZZ)
	$(PY) -m pip install --quiet --only-binary :all: --no-deps --upgrade --target $(FUZZ)/packages 'atheris>=3.0,<4' \
	    || echo '*** No atheris for this Python and machine: no coverage will guide ***' >&2
	@touch $@

.PHONY: fmt
fmt: $(READY) ## Format, and apply the fixes that ruff is sure of
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

.PHONY: serve
serve: $(READY) ## Run the service with the development profile
	$(BIN)/ackline serve --profile dev $(ARGS)

.PHONY: receiver
receiver: $(READY) ## Run the mock receiver
	$(BIN)/ackline receiver $(ARGS)

.PHONY: demo
demo: $(READY) ## Deliver a sample file from end to end, both sides on this machine
	$(BIN)/ackline demo $(ARGS)

# One part alone: make bench ARGS='resume --laps 3'. All options: make bench ARGS=--help
.PHONY: bench
bench: $(READY) ## Measure speed, memory and the cost of resuming, in ratios of one run
	$(PY) -m benchmarks $(ARGS)

PEERS := .bench-peers

.PHONY: bench-peers
bench-peers: $(READY) $(PEERS)/.ready ## The same file by other systems, beside ours
	$(PY) -m benchmarks.peers --environment $(PEERS) $(ARGS)

# The one in Node takes part where node, npm and redis-server are; the run says when it does not.
$(PEERS)/.ready: benchmarks/peers/requirements.txt benchmarks/peers/package.json | $(READY)
	$(PY) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt
	@if type node npm redis-server >/dev/null 2>&1; then \
	    mkdir -p $(PEERS)/node && cp benchmarks/peers/package.json $(PEERS)/node/ \
	        && cd $(PEERS)/node && npm install --no-package-lock --no-audit --no-fund --silent; \
	else \
	    echo '*** No node, npm or redis-server: that peer will be skipped ***' >&2; \
	fi
	@touch $@

# Pins that still fit are kept; make lock ARGS=--upgrade takes the newest of everything.
.PHONY: lock
lock: ## Regenerate both lock files from pyproject.toml
	@set -eu; $(find_python); \
	scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	"$$python" -m venv "$$scratch/venv"; \
	"$$scratch/venv/bin/python" -m pip install --quiet 'pip-tools>=7.5,<8'; \
	compile() { \
	    "$$scratch/venv/bin/python" -m piptools compile --quiet --generate-hashes \
	        --strip-extras --allow-unsafe --no-header --no-emit-options $(ARGS) "$$@" pyproject.toml; \
	}; \
	compile --output-file requirements.lock; \
	compile --extra dev --constraint requirements.lock --output-file requirements-dev.lock; \
	if grep -nE '://|file:|^ *-[a-z-]*(index|host|find)' requirements.lock requirements-dev.lock; then \
	    echo 'A lock file must not say where its packages come from' >&2; exit 1; \
	fi

.PHONY: clean
clean: ## Remove .venv, caches and build results
	rm -rf .venv .bench-peers .fuzz .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
