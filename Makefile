# Everything installs into .venv first, and only when pyproject.toml changed since.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DOCUMENT ?= configs/hello.yaml

.PHONY: help serve test test-unit check fix bench clean

help:
	@echo "make serve      install, and serve $(DOCUMENT) on http://127.0.0.1:8080 (DOCUMENT=… for another)"
	@echo "make test       install, and run every test"
	@echo "make test-unit  only the tests that need no Ray cluster: seconds"
	@echo "make check      lint, types, import contracts"
	@echo "make fix        format, and mend what can be mended"
	@echo "make bench      measure anabranch beside its peers"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "anabranch needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.serve
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.test
	$(PIP) --editable '.[test,dev]'
	@touch $@

serve: $(VENV)/.serve
	$(BIN)/anabranch serve $(DOCUMENT)

test: $(VENV)/.test
	$(BIN)/python -m pytest

test-unit: $(VENV)/.test
	$(BIN)/python -m pytest --ignore tests/ray

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test
	$(BIN)/python -m bench
	$(BIN)/python -m bench.memory
	$(BIN)/python -m bench.compile

clean:
	rm -rf $(VENV) build dist *.egg-info
