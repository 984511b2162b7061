# make demo    set up, simulate a CAR-T study with known truth, run it, print the path of the report
# make test    set up and run the test suite
# make lint    ruff, mypy, import-linter
# make real    the real studies of data/studies, one line each (says so where the data are absent)
# make bench   the small version of every benchmark
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test lint real bench clean
help:
	@sed -n '/^#/!q; s/^# //p' Makefile

# Debian ships python3 without its venv module, and forbids pip outside of one (PEP 668): virtualenv in a folder of
# its own helps itself without either.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools virtualenv && \
	  PYTHONPATH=.tools $(PYTHON) -m virtualenv --quiet $(VENV); }

$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cellprec and what it needs into $(VENV) (a few minutes, once)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/.ready
	@$(BIN)/cellprec demo

test: $(VENV)/.ready-dev
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(VENV)/.ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

real: $(VENV)/.ready
	@$(BIN)/python data/studies/run_all.py

# readfcs and fcsparser ask for other releases of what they and we need, and run with ours
bench: $(VENV)/.ready-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps readfcs==2.1.1 fcsparser==0.2.8
	@$(foreach bench,$(wildcard benchmarks/*.py),echo "== $(bench)" && $(BIN)/python $(bench) --quick &&) true

clean:
	rm -rf $(VENV) .tools cellprec-demo-*
