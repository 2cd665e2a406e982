# `make run` and `make test` do all the set-up that a fresh Debian or Ubuntu machine needs, by package name.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
# Connections that the churn test opens and closes.
CHURN ?= 1000000
# Logins that the churn test of lf-comet makes and ends.
LOGINS ?= 100000
MDBOOK ?= mdbook
# Seconds that each fuzz target runs.
FUZZ_SECONDS ?= 60

# Lua code of others, which lf-lua has to run as it is.
LUA_LIBRARIES := lua-redis lua-socket lua-penlight lua-inspect lua-luassert lua-say lua-messagepack lua-dkjson

.PHONY: run test bench lint docs setup setup-test models churn fuzz conformance million help

help: ## What there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: setup ## Build everything, measure lf-echo beside the reference servers, draw the report
	$(CARGO) build --release -p lf-echo -p lf-bench
	./target/release/lf-bench

test: setup-test lint ## Lints, all tests, the loom models, a million connections of churn
	@# With the same features throughout, nothing is built twice.
	$(CARGO) build --workspace --bins --features lf-core/faults
	$(CARGO) nextest run --workspace --features lf-core/faults
	$(CARGO) nextest run -p lf-lua --no-default-features --features lua54
	$(CARGO) test --workspace --doc --quiet --features lf-core/faults
	$(MAKE) models churn

lint: ## Format and clippy, warnings denied; cargo-deny where it is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features lf-core/faults -- -D warnings
	if command -v cargo-deny >/dev/null; then $(CARGO) deny --offline check bans licenses sources; fi

models: ## The claim word, the outbox, the baton and the batch under loom
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom LOOM_MAX_PREEMPTIONS=3 \
		$(CARGO) test -p lf-core --lib --profile model model

churn: ## Opens and closes CHURN connections, makes and ends LOGINS logins, while others send; nothing may go astray
	LF_CHURN=$(CHURN) $(CARGO) nextest run -p lf-core --features lf-core/faults --test churn --no-capture
	LF_LOGINS=$(LOGINS) $(CARGO) nextest run -p lf-comet --test churn --no-capture

fuzz: setup ## Fuzzes the codecs, each target for FUZZ_SECONDS; lf-core/fuzz/README.md says what becomes of it
	@command -v c++ >/dev/null || $(MAKE) --no-print-directory apt PACKAGES=g++
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install cargo-fuzz --locked
	@# Coverage and sanitizers are not stable options of the compiler yet.
	cd lf-core; for target in $$($(CARGO) fuzz list); do \
		mkdir -p $(CURDIR)/target/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --target-dir $(CURDIR)/target/fuzz $$target \
			$(CURDIR)/target/corpus/$$target fuzz/corpus/$$target fuzz/seeds/$$target \
			-- -max_len=1000 -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0; \
	done

conformance: setup-test ## All cases of the Autobahn WebSocket test suite
	$(CARGO) build --release -p lf-core --example websocket
	lf-core/tests/conformance/run.py $${CARGO_TARGET_DIR:-target}/release/examples/websocket

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
	@for tool in strace:strace python3:python3 curl:curl nc:netcat-openbsd ip:iproute2 slowhttptest:slowhttptest \
		node:nodejs npm:npm chromium:chromium redis-server:redis-server nginx:nginx-light; do \
		command -v $${tool%%:*} >/dev/null || $(MAKE) --no-print-directory apt PACKAGES=$${tool##*:} || \
			echo "without $${tool%%:*}, the tests that need it are skipped"; \
	done
	@[ -e /usr/share/lua/5.1/redis.lua -a -e /usr/share/lua/5.1/pl/List.lua -a -e /usr/share/lua/5.1/MessagePack.lua ] || \
		$(MAKE) --no-print-directory apt PACKAGES="$(LUA_LIBRARIES)" || echo "without Lua libraries, the tests that run them are skipped"
	@python3 -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory apt PACKAGES=python3-venv || true
	@lf-core/tests/conformance/run.py --prepare || echo "without it, the conformance test is skipped"
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --locked

.PHONY: apt
apt:
	@if [ "$$(id -u)" != 0 ]; then echo "install: $(PACKAGES)"; exit 1; fi
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(PACKAGES) >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(PACKAGES) >/dev/null; }
