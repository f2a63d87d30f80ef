# make demo   set up, analyse the bundled sample study, print the answers, write pictures and maps into demo/
# make test   set up, run the linter and all tests
# Both install into .venv of this folder and touch nothing else.

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test lint clean

demo: $(VENV)/base-installed
	$(BIN)/brainiac analyze Resources/SampleData/*.nii.gz --out demo

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# torch goes first and alone, so that no other package picks a build of its own
$(VENV)/base-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/test-installed: $(VENV)/base-installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache
