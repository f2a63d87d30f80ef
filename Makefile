# make demo       set up, analyze the bundled sample study, print the answers, write pictures and maps into demo/
# make test       set up, run the linter, the type checker and all tests
# make quick      the linter and the fast tests
# make types      the type checker, strict for the whole library, as on Linux and on Windows
# make coverage   all tests, and which lines none of them runs
# make docs       the documentation site, in docs/_build/html; every warning is an error
# All install into .venv of this folder and touch nothing else.

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test quick lint types coverage docs clean

demo: $(VENV)/base-installed
	$(BIN)/brainiac analyze Resources/SampleData/*.nii.gz --out demo

test: lint types
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

quick: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test-installed
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32

coverage: $(VENV)/test-installed
	$(BIN)/python -m pytest --cov=BrainIACLib --cov=Training --cov-report=term-missing:skip-covered

docs: $(VENV)/docs-installed
	$(BIN)/sphinx-build --fail-on-warning --keep-going -b html docs docs/_build/html

# torch goes first and alone, so that no other package picks a build of its own
$(VENV)/base-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/test-installed: $(VENV)/base-installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

$(VENV)/docs-installed: $(VENV)/base-installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist docs/_build .coverage .pytest_cache .ruff_cache .mypy_cache
