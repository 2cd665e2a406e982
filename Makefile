# `make run` and `make test` do all the set-up that a fresh Debian or Ubuntu machine needs, by package name.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
# Connections that the churn test opens and closes.
CHURN ?= 1000000
MDBOOK ?= mdbook

.PHONY: run test bench lint docs setup setup-test models churn million help

help: ## What there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: setup ## Build everything, measure lf-echo beside the reference servers, draw the report
	$(CARGO) build --release -p lf-echo -p lf-bench
	./target/release/lf-bench

test: setup-test lint ## Lints, all tests, the loom models, a million connections of churn
	$(CARGO) build --workspace --bins
	$(CARGO) nextest run --workspace --features lf-core/faults
	$(CARGO) test --workspace --doc --quiet
	$(MAKE) models churn

lint: ## Format and clippy, warnings denied; cargo-deny where it is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features lf-core/faults -- -D warnings
	if command -v cargo-deny >/dev/null; then $(CARGO) deny --offline check bans licenses sources; fi

models: ## The claim word, the outbox, the baton and the batch under loom
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom LOOM_MAX_PREEMPTIONS=3 \
		$(CARGO) test -p lf-core --lib --profile model model

churn: ## Opens and closes CHURN connections while others send; no byte may go astray
	LF_CHURN=$(CHURN) $(CARGO) nextest run -p lf-core --features lf-core/faults --test churn --no-capture

bench: setup ## The figures that the project sets itself
	$(CARGO) build --release -p lf-echo -p lf-bench
	./target/release/lf-bench compare --figures

million: setup ## A million connections on one lf-echo, in a virtual machine
	bench/million/run.sh

docs: ## The book, into docs/book
	command -v $(MDBOOK) >/dev/null || $(CARGO) install mdbook --locked
	$(MDBOOK) build docs

setup:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing: install Rust 1.90 or newer (https://rustup.rs)"; exit 1; }
	@command -v cc >/dev/null || $(MAKE) --no-print-directory apt PACKAGES="gcc libc6-dev"

setup-test: setup
	@for tool in strace:strace python3:python3 curl:curl nc:netcat-openbsd; do \
		command -v $${tool%%:*} >/dev/null || $(MAKE) --no-print-directory apt PACKAGES=$${tool##*:} || \
			echo "without $${tool%%:*}, the tests that need it are skipped"; \
	done
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --locked

.PHONY: apt
apt:
	@if [ "$$(id -u)" != 0 ]; then echo "install: $(PACKAGES)"; exit 1; fi
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(PACKAGES) >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(PACKAGES) >/dev/null; }
