# Every target works from a fresh clone and from any working directory: `make -C path/to/firstbell run`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
PYTHON ?= python3
VENV := $(ROOT).venv
BIN := $(VENV)/bin
SOURCES := actors console contracts domain embedded storage traffic benches tests app.py errors.py logs.py metrics.py service.py settings.py

.PHONY: help setup run test check format lint types layers bench e2e clean

help: ## Show the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## /\1\t/' | expand -t 10

setup: $(VENV)/.ready ## Make the virtual environment, from the locked requirements

# Written anew from scratch: an environment that stopped half-way is never used.
$(VENV)/.ready: $(ROOT)requirements.lock
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(ROOT)requirements.lock
	touch $@

run: setup ## Start everything, publish sample purchases, show what happened, stay up
	cd $(ROOT) && $(BIN)/python app.py demo --stay

test: setup ## Run all tests, against a real Apache Kafka and a real PostgreSQL
	cd $(ROOT) && $(BIN)/python -m pytest -n 2 --dist worksteal

check: setup format lint types layers test ## Format, lint, types, layers, then tests

format:
	cd $(ROOT) && $(BIN)/ruff format --check $(SOURCES)

lint:
	cd $(ROOT) && $(BIN)/ruff check $(SOURCES)

types:
	cd $(ROOT) && $(BIN)/mypy $(SOURCES)

layers:
	cd $(ROOT) && $(BIN)/lint-imports --no-cache

bench: setup ## Measure throughput and latency beside a hand-written pipeline
	cd $(ROOT) && $(BIN)/python -m benches

e2e: setup ## Send payments from clients that are not ours: @platformatic/kafka, kcat, confluent-kafka
	cd $(ROOT) && tests/e2e/clients/install && $(BIN)/python -m pytest tests/e2e -m clients

clean: ## Remove the environment and the data of the embedded servers
	rm -rf $(VENV) $(ROOT).firstbell
