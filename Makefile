.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
READY := .venv/.tbseg-ready

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

.PHONY: setup
setup: $(READY) ## Install everything into .venv (Python 3.11 to 3.13)

$(READY): requirements.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh

.PHONY: demo
demo: setup ## Start Airflow and segment a real volume of nuclei
	@$(PY) -m scripts.demo

.PHONY: up
up: setup ## Start Airflow
	@$(PY) -m scripts.service up

.PHONY: down demo-stop
down demo-stop: ## Stop Airflow
	@if [[ -x $(PY) ]]; then $(PY) -m scripts.service down; fi

.PHONY: status
status: setup ## Is Airflow running, and where
	@$(PY) -m scripts.service status

.PHONY: lint
lint: setup ## Style, types, layers, and that each imported package is declared
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	PYTHONPATH=plugins .venv/bin/lint-imports
	.venv/bin/deptry tbseg_ops plugins dags scripts config docker
	.venv/bin/deptry tests --ignore DEP002,DEP004

# Airflow, hosts, ilastik, the command line, faults: what is left is done in the tests' own processes.
ELSEWHERE = cli dags docker e2e engines/ilastik faults hosts kubernetes plugins processes ssh

.PHONY: check
check: lint ## Lint and the library's own tests, without programs, workers, Airflow, ilastik: 3 minutes
	$(PY) -m pytest -n 2 -m "not slow" --no-programs $(addprefix --ignore=tests/,$(ELSEWHERE))

.PHONY: test
test: lint ## What CI runs: lint and all tests but the slow ones
	$(PY) -m pytest -n 3 --dist loadgroup -m "not slow"

.PHONY: test-slow
test-slow: setup ## The slow tests: failures on purpose, large volumes
	$(PY) -m pytest -m slow

.PHONY: test-faults
test-faults: setup ## All that docs/reliability.md names, slow ones too, and the guards taken away: a table
	$(PY) -m tests.faults.table

.PHONY: bench
bench: setup ## A table of speeds, against vigra's filters and forest where they are installed
	$(PY) -m tests.bench

.PHONY: bench-io
bench-io: setup ## What each step costs, reads and writes, for slices of several kinds: a table
	$(PY) -m tests.bench.disk

.PHONY: bench-tiles
bench-tiles: setup ## What the commands that look at all tiles cost, up to 100,000 of them: a table
	$(PY) -m tests.bench.tiles

.PHONY: bench-export
bench-export: setup ## Time and memory of an export, beside what the disk takes: a table
	$(PY) -m tests.bench.exports

.PHONY: bench-pages
bench-pages: setup ## What it costs to look at a run of 30,720 tiles, and five who do: a table
	$(PY) -m tests.bench.pages

.PHONY: bench-airflow
bench-airflow: setup ## What Airflow costs beside the work, against tbseg run: a table
	$(PY) -m tests.bench.airflow

.PHONY: bench-fleet
bench-fleet: setup ## Hosts of 1x, 2x and 4x speed on one run, with and without helping: a table
	$(PY) -m tests.bench.fleet

# The first of them that answers. IMAGE_OPTIONS: for a package index or certificates of your own.
ENGINE = $(shell for e in docker podman buildah; do $$e version >/dev/null 2>&1 && echo $$e && break; done)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' tbseg_ops/__init__.py)

.PHONY: images
images: ## Build the images for Airflow and for MPI jobs (docker, podman or buildah)
	@[[ -n "$(ENGINE)" ]] || { echo "error: none of docker, podman, buildah answers" >&2; exit 1; }
	$(ENGINE) build $(IMAGE_OPTIONS) -f docker/airflow.Dockerfile -t localhost/tbseg-airflow:$(VERSION) .
	$(ENGINE) build $(IMAGE_OPTIONS) -f docker/mpi.Dockerfile -t localhost/tbseg-mpi:$(VERSION) .

.PHONY: lock
lock: ## Resolve requirements.lock and the locks of the images anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --all-extras pyproject.toml -o requirements.lock
	docker/lock.sh

.PHONY: clean
clean: down ## Remove what is made: environment, caches, demo, Airflow's state
	rm -rf .venv .airflow .demo build ./*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
