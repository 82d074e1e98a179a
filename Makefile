# Two commands for a bare machine: `make demo` and `make test`.
# PYTHON picks the interpreter (3.11 or newer), SEED the demo's seed.

PYTHON ?= python3
SEED ?= 0
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo_seed$(SEED)

NEXT := .venv-next
NEWEST := .venv-newest
# Python 3.12 or newer, on the path or pyenv's, the newest first.
NEWER = $(foreach v,14 13 12,python3.$(v) $(wildcard $(HOME)/.pyenv/versions/3.$(v)*/bin/python))
AOT := .venv-aot
PROGRAMS ?=

.PHONY: demo test slow soak next newest aot lint types layers check name clean

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

# An hour of damaged run directories (a minute of it is in `make test`).
soak: $(VENV)/.ready
	CRL_EQX_FUZZ_SECONDS=3600 $(BIN)/pytest -q tests/run/test_fuzz.py

# The kernels under the next JAX, which needs a newer Python: Mosaic's interpreter is in no older.
next:
	@for python in $(NEWER); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
	    exec $(MAKE) --no-print-directory $(NEXT)/.tested NEXT_PYTHON=$$python; fi; done; \
	echo "skipped: the kernels under the next JAX need Python 3.12 or newer, and there is none"

$(NEXT)/.ready: pyproject.toml
	$(NEXT_PYTHON) -m venv $(NEXT)
	$(NEXT)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -e . jax==0.11.2 beartype==0.23.1 hypothesis==6.170.15 pytest==9.2.0
	@touch $@

.PHONY: $(NEXT)/.tested
$(NEXT)/.tested: $(NEXT)/.ready
	$(NEXT)/bin/python -m pytest -q tests/kernels -W ignore::DeprecationWarning

# Native physics, networks, replay and runs under the newest versions of everything, without MJX,
# which has no version for the newest MuJoCo; on the newest Python that is here.
newest:
	@for python in $(NEWER) $(PYTHON); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec $(MAKE) --no-print-directory $(NEWEST)/.tested NEXT_PYTHON=$$python; fi; done

$(NEWEST)/.ready: pyproject.toml
	$(NEXT_PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
	  -e '.[gym]' beartype hypothesis pytest pytest-xdist scipy
	@touch $@

.PHONY: $(NEWEST)/.tested
$(NEWEST)/.tested: $(NEWEST)/.ready
	@$(NEWEST)/bin/python -c 'import sys, importlib.metadata as m; print("newest: Python", \
	  sys.version.split()[0], *(f"{n} {m.version(n)}" for n in ("jax", "mujoco", "equinox", "numpy")))'
	$(NEWEST)/bin/python -m pytest -q -n 2 -W ignore::DeprecationWarning -p no:cacheprovider \
	  tests/envs/test_custom.py tests/envs/test_full_state.py tests/envs/test_physics.py \
	  tests/envs/test_registry.py tests/test_update.py tests/test_rivals.py tests/test_replay.py \
	  tests/test_losses.py \
	  tests/store/test_checkpoint.py tests/run/test_loop.py tests/config/test_config.py

# Compiles for an H200 on a machine without one; PROGRAMS names parts of what to compile.
aot: $(AOT)/.ready
	$(AOT)/bin/python bench/aot.py $(if $(PROGRAMS),--programs $(PROGRAMS))

$(AOT)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(AOT)
	$(AOT)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[aot]'
	@touch $@

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/pyright

layers: $(VENV)/.ready
	$(BIN)/lint-imports

check: lint types layers

# Before a release: whatever the index holds under our name must be a version that we have tagged.
# That it knows NumPy tells a name that is free from an index that is away.
name: $(VENV)/.ready
	@$(BIN)/pip index versions numpy >/dev/null 2>&1 || { echo "the package index cannot be asked"; exit 2; }
	@found=$$($(BIN)/pip index versions crl-eqx 2>/dev/null | sed -n 's/^Available versions: //p' | tr -d ,); \
	for v in $$found; do git rev-parse -q --verify "refs/tags/v$$v" >/dev/null || \
	  { echo "crl-eqx $$v on the index is not ours: there is no tag v$$v"; exit 2; }; done; \
	echo "crl-eqx: $${found:-the name is free}"

clean:
	rm -rf $(VENV) $(NEXT) $(NEWEST) $(AOT) dist
