# TaskForge: every target calls a script or the `taskforge` program; `make help` lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help

export TASKFORGE_DATA_DIR ?= $(CURDIR)/.taskforge
LISTEN ?= 127.0.0.1:8000
# Only one that was given moves a server that runs elsewhere.
MOVED := $(if $(filter command environment,$(firstword $(origin LISTEN))),--listen $(LISTEN))
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
TASKFORGE := $(TARGET)/release/taskforge

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## A whole task with a scripted model and no API key; asks you to approve (DEMO_YES=1, DEMO_DENY=1: without asking)
	@scripts/demo

.PHONY: test
test: ## Every check and test, as in CI
	@scripts/test

.PHONY: up
up: build ## Start the server in the background on LISTEN (default 127.0.0.1:8000), configured by .env
	@scripts/with-env $(TASKFORGE) up --detach --listen $(LISTEN)

.PHONY: setup
setup: ## Install what is missing and start a Docker Engine if none answers
	@scripts/setup

.PHONY: build
build: setup ## Build the program and the supervisor
	@scripts/build

.PHONY: built
built:
	@test -x $(TASKFORGE) || { echo 'error: TaskForge is not built' >&2; echo 'hint:  make build' >&2; exit 1; }

.PHONY: down
down: built ## Stop the server; waiting tasks stay as they are
	@$(TASKFORGE) down

.PHONY: restart
restart: build ## Stop the server and start it again, at its address unless LISTEN is given
	@scripts/with-env $(TASKFORGE) restart $(MOVED)

.PHONY: logs
logs: built ## Follow all logs
	@$(TASKFORGE) logs

.PHONY: logs-service
logs-service: built ## Follow one log: make logs-service SERVICE=server (or events, or a task's id)
	@test -n "$(SERVICE)" || { echo 'error: no SERVICE given' >&2; echo 'hint:  make logs-service SERVICE=server' >&2; exit 2; }
	@$(TASKFORGE) logs "$(SERVICE)"

.PHONY: ps
ps: built ## What runs: the server, and the tasks that go on
	@$(TASKFORGE) ps

.PHONY: health
health: built ## Whether server, database, log, Engine and disk are well
	@$(TASKFORGE) health

.PHONY: clean
clean: built ## Stop the server and remove this installation: all tasks, keys and the audit log (YES=1: without asking)
	@$(TASKFORGE) clean $(if $(YES),--yes)

.PHONY: backup
backup: built ## A consistent copy of database, engine state, workspaces, packages, log (and images): make backup FILE=… [IMAGES=1]
	@scripts/backup "$(or $(FILE),taskforge-backup-$(shell date -u +%Y%m%dT%H%M%SZ).tar)" $(if $(IMAGES),--with-images)

.PHONY: restore
restore: built ## Put a backup back: make restore FILE=…
	@test -n "$(FILE)" || { echo 'error: no FILE given' >&2; echo 'hint:  make restore FILE=taskforge-backup-….tar' >&2; exit 2; }
	@$(TASKFORGE) restore "$(FILE)"

.PHONY: bench
bench: build ## Benchmarks into target/bench.json and docs/benchmarks.md (ONLY=name for one)
	@scripts/bench $(ONLY)

.PHONY: fuzz
fuzz: ## Hostile input for the parsers of model calls for SECONDS (default 60; ONLY=stream-chat for one)
	@cargo run -q --release -p fuzz -- $(or $(ONLY),all) --seconds $(or $(SECONDS),60)

.PHONY: fmt
fmt: ## Format the code
	@cargo fmt --all

.PHONY: lint
lint: ## The checks of `make test` that need no tests
	@scripts/test lint
