# Everything installs into .venv first, and only when pyproject.toml changed since.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DOCUMENT ?= configs/demo.yaml

# vLLM has an environment of its own: it wants other builds of the packages that the rest uses.
VLLM_VENV := .venv-vllm
VLLM_PIP := $(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check

# Without an NVIDIA GPU, PyTorch's build for CPUs does: a tenth of the size. Where its index can't be reached, the usual
# one decides, and nobody waits for retries.
CPU_INDEX := https://download.pytorch.org/whl/cpu
REACH := import urllib.request; urllib.request.urlopen("$(CPU_INDEX)/torch/", timeout=5)
TORCH = $(shell nvidia-smi >/dev/null 2>&1 || \
	if $(PYTHON) -c '$(REACH)' 2>/dev/null; then echo --extra-index-url $(CPU_INDEX); fi)

.PHONY: help serve test test-unit test-vllm check fix bench clean

help:
	@echo "make serve      install, and serve $(DOCUMENT) on http://127.0.0.1:8080 (DOCUMENT=… for another)"
	@echo "make test       install, and run every test"
	@echo "make test-unit  only the tests that need no Ray cluster: about four minutes on two cores"
	@echo "make test-vllm  only those of the driver vllm, in an environment of its own (4 GB)"
	@echo "make check      lint, types, import contracts"
	@echo "make fix        format, and mend what can be mended"
	@echo "make bench      measure anabranch beside its peers: seven programs, one after another"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "anabranch needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[huggingface]' $(TORCH)
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.serve
	$(PIP) --editable '.[huggingface,test]' $(TORCH)
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.test
	$(PIP) --editable '.[huggingface,test,dev]' $(TORCH)
	@touch $@

# Nothing here reads pictures or sound, and the builds of these three that come along break the loading of models.
$(VLLM_VENV)/.test: pyproject.toml tests/vllm/requirements.txt
	test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_PIP) --requirement tests/vllm/requirements.txt --editable '.[test]' $(TORCH)
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

serve: $(VENV)/.serve
	$(BIN)/anabranch serve $(DOCUMENT)

test: $(VENV)/.test
	$(BIN)/python -m pytest

test-unit: $(VENV)/.test
	$(BIN)/python -m pytest --ignore tests/serve

test-vllm: $(VLLM_VENV)/.test
	$(VLLM_VENV)/bin/python -m pytest tests/vllm

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
	$(BIN)/python -m bench.models
	$(BIN)/python -m bench.passthrough
	$(BIN)/python -m bench.departures
	$(BIN)/python -m bench.idle

clean:
	rm -rf $(VENV) $(VLLM_VENV) .venv-model-compose build dist *.egg-info
