# kx: everything a person or CI runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PREFIX ?= /usr
DESTDIR ?=
CARGO ?= cargo
PROFILE ?= release
TARGET_DIR ?= target/release
FUZZ_SECONDS ?= 30

include pkgs/package.mk

.PHONY: help build demo check check-original bench headers fuzz deps lint test clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## release binaries and libraries in target/release
	$(CARGO) build --release --locked --workspace --exclude interop-tests

demo: build ## the main job of every system, live, in seconds
	@$(CARGO) build -q --release --locked -p interop-tests --bin kx-demo
	@$(TARGET_DIR)/kx-demo $(TARGET_DIR)

deps: ## install the packages that the tests need (Debian, as root)
	@interop-tests/peers.sh

lint: ## format, clippy, licences, headers, man pages, scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@interop-tests/lint/run
	$(MAKE) lint-man

test: build ## every test against our binaries
	KX_SLOW=1 KX_BIN=$(CURDIR)/$(TARGET_DIR) $(CARGO) test --workspace --locked --no-fail-fast

check: deps lint test ## all that CI does: installs what it needs, then lints and tests
	$(MAKE) fuzz-smoke
	KX_PREBUILT=1 $(MAKE) deb rpm lint-packages test-packages

check-original: ## the compliance suite against the original (KX_REF_KXD, default Debian's)
	@interop-tests/check-original.sh

fuzz: ## every fuzz target for FUZZ_SECONDS
	@interop-tests/fuzz/run $(FUZZ_SECONDS)

bench: build ## criterion for the cores, whole processes beside the original
	$(CARGO) bench --workspace --locked
	$(CARGO) build -q --release --locked -p interop-tests --bin kx-bench
	@interop-tests/bench/run $(TARGET_DIR)

headers: ## regenerate include/*.h
	KX_BLESS=1 $(CARGO) test -p libkx --test header

clean: ## remove what was built
	$(CARGO) clean
