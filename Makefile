# Two commands for a bare machine: `make demo` and `make test`.
# PYTHON picks the interpreter (3.11 or newer), SEED the demo's seed.

PYTHON ?= python3
SEED ?= 0
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo_seed$(SEED)

.PHONY: demo test slow lint types layers check clean

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "crl-eqx needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.ready
	@if [ -e $(RUN)/config.json ]; then echo "$(RUN) is there: going on with it"; \
	  $(BIN)/crl-eqx resume $(RUN); \
	else $(BIN)/crl-eqx train --preset cpu-demo --seed $(SEED) --run-dir $(RUN); fi

test: $(VENV)/.ready
	$(BIN)/pytest -q -n 2

slow: $(VENV)/.ready
	$(BIN)/pytest -q -m slow

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/pyright

layers: $(VENV)/.ready
	$(BIN)/lint-imports

check: lint types layers

clean:
	rm -rf $(VENV) dist
