# Every target sets up what it needs: a fresh clone needs Python 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1
# Every step of a pipeline is a process of its own: without stored bytecode each compiles all its imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench lock images clean

help:  ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.ready  ## Create .venv from the lock

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## Run the whole workflow on a synthetic world (about ten minutes on two cores)
	$(BIN)/eve data prepare --config configs/demo.yaml
	$(BIN)/eve run --config configs/demo.yaml

test: setup  ## Run the tests
	$(BIN)/pytest

lint: setup  ## Check style, types and configs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/eve check

bench: setup  ## Measure speed and memory on an idle machine (benchmarks/README.md)
	@for name in encoder soft_router pretraining_tasks text_trimming \
		prepare loader validation near_duplicates training processes evaluation pipeline pretraining_gain; do \
		$(BIN)/python -m benchmarks.$$name || exit 1; \
	done

lock: setup  ## Resolve pyproject.toml into requirements.lock: names, versions and hashes, no addresses
	$(BIN)/uv pip compile --quiet --extra train --extra workflow --extra dev --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 --python-platform linux pyproject.toml -o requirements.lock

images: setup  ## Build the container images with Docker, and list what is in them (build/sbom)
	$(BIN)/python -m infra.docker.images

clean:  ## Remove what runs made (.eve), not the environment
	rm -rf .eve
