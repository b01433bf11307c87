# Every target works from a fresh clone, and from any working directory with `make -C path/to/firstbell run`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
SOURCES := actors commands console contracts domain embedded monitoring storage traffic benches tests $(wildcard *.py)

.PHONY: help setup run test check format lint types layers bench e2e monitoring dashboard locks clean

help: ## Show the targets
	@grep -hE '^[a-z0-9]+:.*## ' Makefile | sed -E 's/^([a-z0-9]+):.*## /\1\t/' | expand -t 12

setup: .venv/.ready ## Make the virtual environment, from the locked requirements

# Made from scratch: an environment that stopped half-way is never used.
.venv/.ready: requirements.lock
	@echo "installing the packages of requirements.lock into .venv"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@

run: setup ## Start everything, publish sample purchases, show what happened, stay up
	@$(BIN)/python app.py demo --stay

test: setup ## Run all tests, against a real Apache Kafka and a real PostgreSQL
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: setup format lint types layers test ## Format, lint, types, layers, then tests

format: setup
	$(BIN)/ruff format --check $(SOURCES)

lint: setup
	$(BIN)/ruff check $(SOURCES)

types: setup
	$(BIN)/mypy $(SOURCES)

layers: setup
	$(BIN)/lint-imports --no-cache

bench: setup ## Measure throughput and latency beside a hand-written pipeline
	$(BIN)/python -m benches

e2e: setup ## Send payments from clients that are not ours: @platformatic/kafka, kafkajs, kcat, confluent-kafka
	tests/e2e/clients/install && $(BIN)/python -m pytest tests/e2e -m clients

monitoring: setup ## Have a real Prometheus scrape the service, try every alert, rehearse an incident; installs it
	tests/monitoring/install && $(BIN)/python -m pytest tests/monitoring -m prometheus

dashboard: setup ## Write the Grafana dashboard anew from monitoring/grafana
	$(BIN)/python -m monitoring.grafana.dashboard

locks: ## Renew both lock files from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements-production.lock
	uv pip compile pyproject.toml --extra embedded --extra tracing --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements.lock

clean: ## Remove the environment and the data of the embedded servers
	rm -rf .venv .firstbell
