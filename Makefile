# What a newcomer needs: `make demo`, `make test`. Everything is set up by these targets themselves.
PYTHON ?= python3
VENV := .venv
WORKERS := 5
PIP_FLAGS := --disable-pip-version-check --quiet
SHELL := /bin/bash
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)
# Empty is off: without caches of bytecode, each of the many processes compiles everything anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo demo-down test faults check generate bench bench-platform tools clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

demo: $(VENV)/ready  ## a local data plane with two tenants, proven apart, and the platform before them
	@$(VENV)/bin/python -m hack.demo up

demo-down: $(VENV)/ready  ## end the demo and remove what it made
	@$(VENV)/bin/python -m hack.demo down

test: $(VENV)/ready tools  ## the whole suite
	$(VENV)/bin/pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(TESTS)

faults: $(VENV)/ready tools  ## the operator killed before and after every change that it makes, and restarted with 200 tenants
	BULKHEAD_FAULT_STRIDE=1 $(VENV)/bin/pytest tests/faults
	BULKHEAD_QUIET_TENANTS=200 $(VENV)/bin/pytest tests/integration/operator/test_quiet.py

check: $(VENV)/ready  ## format, lint, types, layers, generated files, spelling
	hack/check

generate: $(VENV)/ready  ## write what the types tell: crds/, docs/openapi.json, parts of docs/protocol.md
	$(VENV)/bin/python -m hack.generate

bench: $(VENV)/ready tools  ## the operator against a bare script, in one run
	$(VENV)/bin/python -m bench $(BENCH)

bench-platform: $(VENV)/ready tools  ## the platform service: heartbeats of 10,000 clusters, and its proxy beside a bare one
	$(VENV)/bin/python -m bench.platform heartbeats
	$(VENV)/bin/python -m bench.platform proxy

tools: $(VENV)/ready  ## build the pinned servers, once
	@$(VENV)/bin/python -m hack.plane build >/dev/null

clean:  ## remove the virtual environment and caches of this checkout
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist

# Made anew whenever a requirement changes; the file is touched last, so an interrupted set-up starts over.
$(VENV)/ready: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Bulkhead needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Set PYTHON=python3.x."; exit 1; }
	@echo "setting up $(VENV) (about 20 s) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install $(PIP_FLAGS) --require-hashes -r requirements/dev.txt
	@touch $@
