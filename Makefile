# What one does with this repository. `make` alone lists the targets; each says
# what it needs through scripts/setup.sh.
#
# There is one profile and one target directory, so that wasmtime and Cranelift
# are compiled once for all of them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

# Where `make run` keeps its data, and what it listens on when the default is
# taken: make run DATA_DIR=/tmp/d LISTEN=127.0.0.1:9000
DATA_DIR ?= corelet-data
LISTEN ?=
# More arguments for the benchmark: make bench BENCH_ARGS='--only throughput'
BENCH_ARGS ?=
# How often `make soak` kills the server and a process that only writes, how many
# disks after a power cut and flipped bits it opens, and how many hops it makes
# between shards.
CORELET_KILLS ?= 5000
CORELET_STORE_KILLS ?= 20000
CORELET_IMAGES ?= 1000000
CORELET_FLIPS ?= 500000
CORELET_HOPS ?= 10000000

APPS := kv counter chat poll docs tally tally-2 tape
APP_FILES := $(APPS:%=target/apps/%.wasm)
CARGO_BUILD := cargo build --release --locked --workspace --bins --examples

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: build apps ## build everything, start Corelet with the example applications; ends on Ctrl-C
	@exec target/release/corelet dev --data-dir $(DATA_DIR) $(if $(LISTEN),--listen $(LISTEN)) $(APP_FILES)

.PHONY: build
build: ## build the server and the tools (target/release/corelet)
	@scripts/setup.sh build
	$(CARGO_BUILD)

.PHONY: apps
apps: build ## build the example applications (target/apps/*.wasm)
	@scripts/guest-toolchain.sh
	target/release/corelet-build $(APPS:%=apps/%) --out target/apps

.PHONY: test
test: setup-test fmt-check lint apps bench-quick ## all that a change has to pass
	scripts/tests.sh --workspace

.PHONY: bench
bench: setup-bench apps trace ## measure against the baseline: core 0 serves, core 1 loads (about 40 minutes)
	target/release/corelet-bench run --results bench/RESULTS.md $(BENCH_ARGS)

.PHONY: trace
trace: ## bring the recorded typing that `make bench` applies; without a network it makes some up
	@scripts/trace.sh

.PHONY: bench-quick
bench-quick: setup-test apps
	@target/release/corelet-bench run --quick

.PHONY: soak
soak: setup-test apps ## hours, not minutes: kills in mid-commit, power cuts, flipped bits, hops between shards; adds to tests/LEDGER.md
	CORELET_KILLS=$(CORELET_KILLS) CORELET_STORE_KILLS=$(CORELET_STORE_KILLS) CORELET_IMAGES=$(CORELET_IMAGES) CORELET_FLIPS=$(CORELET_FLIPS) CORELET_HOPS=$(CORELET_HOPS) scripts/soak.sh

.PHONY: fmt
fmt: ## format all sources
	cargo fmt --all

.PHONY: fmt-check
fmt-check:
	cargo fmt --all --check

.PHONY: lint
lint: ## clippy on everything, warnings are errors
	@scripts/setup.sh build
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

.PHONY: clean-data
clean-data: ## forget what `make run` has stored (asks first)
	@if [ ! -e $(DATA_DIR)/manifest ]; then echo "no data in $(DATA_DIR)"; exit 0; fi
	read -r -p "remove $(DATA_DIR) and every context in it? [y/N] " answer
	if [ "$$answer" = y ]; then rm -rf -- $(DATA_DIR); fi

.PHONY: setup-test setup-bench
setup-test setup-bench: setup-%:
	@scripts/setup.sh $*
