# make discover   the main job on the embedded model and the simulated atlas, into runs/default
# make test       linters, types, import layers, then all tests but the slow ones
# make lint       linters, types, import layers
# make slow       the tests that take minutes
# make clean      remove the virtual environment and the caches

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
RUN    := runs/default
SOURCES_OF_INSTALL := pyproject.toml constraints.txt hatch_build.py

# Two workers of one thread each are faster on two cores than one of two, and repeat to the last digit.
TEST_ENV := CI=true OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 MPLBACKEND=Agg
WORKERS  ?= 2

.PHONY: discover test lint slow install install-test clean
.DEFAULT_GOAL := test

discover: $(VENV)/.installed
	$(BIN)/interp discover --out $(RUN)
	@echo "Results: $(RUN) (start with $(RUN)/summary.md)"

test: lint
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

slow: $(VENV)/.installed-test
	$(TEST_ENV) $(BIN)/python -m pytest -m slow

install: $(VENV)/.installed
install-test: $(VENV)/.installed-test

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(SOURCES_OF_INSTALL)
	@echo "Installing interp into $(VENV) ..."
	@$(PIP) install --no-compile --constraint constraints.txt --editable .
	@touch $@

# The scgpt package is the reference of the parity tests; its own requirements are older than ours and not needed.
$(VENV)/.installed-test: $(VENV)/.made $(SOURCES_OF_INSTALL)
	@echo "Installing interp and what its tests need into $(VENV) ..."
	@$(PIP) install --no-compile --constraint constraints.txt --editable '.[test]'
	@$(PIP) install --no-compile --no-deps scgpt==0.2.4
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
