# Two commands for a fresh machine: `make demo` and `make test`. Both install what they need into
# .venv; from the second run on nothing is installed.
#
#   make demo [ARGS="--2d"]    label five phantom scans, get the rest, see the report
#   make test [ARGS="-k warp"] every test
#   make lint                  ruff and mypy
#   make coverage              tests with line coverage, and the floor that must hold
#   make clean                 remove what the above made
#
# PYTHON picks the interpreter, TEST_JOBS the number of test processes, PIP_OPTIONS is handed to
# pip (for instance to get PyTorch's CPU build, see README.md).

PYTHON ?= python3
VENV ?= .venv
TEST_JOBS ?= 2
PIP_OPTIONS ?=
ARGS ?=

ifeq ($(OS),Windows_NT)
    BIN := $(VENV)/Scripts
    DISPLAY_WRAPPER :=
else
    BIN := $(VENV)/bin
    # A virtual display where there is one to be had; tests that need a window say so otherwise.
    DISPLAY_WRAPPER = $(shell command -v xvfb-run >/dev/null 2>&1 && echo xvfb-run -a)
endif

RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
# Downloads take minutes: pip shows its progress to a person and keeps logs short otherwise.
QUIET := $(shell test -t 2 || echo --quiet --quiet)
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check $(QUIET) \
    --constraint constraints.txt $(PIP_OPTIONS)
METADATA := setup.cfg pyproject.toml constraints.txt

# The parts whose results people act on.
COVERED := volumes study correspondence engine
COVERAGE_FLOOR := 90

# Two test processes with a thread each are faster than one with two, and never oversubscribe.
test: export OMP_NUM_THREADS := 1
coverage: export OMP_NUM_THREADS := 1

.PHONY: demo demo-2d test lint coverage install install-dev docs-pictures clean

demo: $(RUN_STAMP)
	@$(BIN)/napari-gemini demo $(ARGS)

demo-2d: ARGS += --2d
demo-2d: demo

test: $(DEV_STAMP)
	@$(DISPLAY_WRAPPER) $(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal $(ARGS)

lint: $(DEV_STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

coverage: $(DEV_STAMP)
	@$(DISPLAY_WRAPPER) $(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal --cov --cov-report= $(ARGS)
	@$(BIN)/coverage report
	@for part in $(COVERED); do \
	    echo "napari_gemini/$$part: at least $(COVERAGE_FLOOR) % of lines"; \
	    $(BIN)/coverage report --format=total --include="napari_gemini/$$part/*" \
	        --fail-under=$(COVERAGE_FLOOR) || exit 1; \
	done

install: $(RUN_STAMP)

install-dev: $(DEV_STAMP)

$(BIN)/python:
	@sh scripts/install-system.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "napari-gemini needs Python 3.11 or newer; call make with PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# Built without isolation, so that setuptools comes from constraints.txt as well.
$(RUN_STAMP): $(METADATA) | $(BIN)/python
	@echo "Installing napari-gemini into $(VENV) (once, a few minutes) ..."
	@$(INSTALL) setuptools wheel
	@$(INSTALL) --no-build-isolation --editable '.[all]'
	@touch $@

$(DEV_STAMP): $(RUN_STAMP)
	@echo "Installing what the tests need into $(VENV) (once) ..."
	@$(INSTALL) --no-build-isolation --editable '.[all,cluster,dev]'
	@touch $@

docs-pictures: $(RUN_STAMP)
	@$(DISPLAY_WRAPPER) $(BIN)/python scripts/make_pictures.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov
	rm -rf demo-study demo-output
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
