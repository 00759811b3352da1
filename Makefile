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
# Properties try the same cases each time, as fuzz-smoke does; another number looks for new ones.
export PROPTEST_RNG_SEED ?= 1

include pkgs/package.mk

.PHONY: help build build-deps build-aws-lc test-aws-lc demo demo-vpn check check-packages check-instrumented check-original bench headers hardware-test fuzz fuzz-smoke miri deps lint test clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build-deps:
	@interop-tests/install.sh pkg-config libssl-dev libpcsclite-dev cryptsetup-bin curl python3 iproute2 iptables ethtool

build: build-deps ## release binaries and libraries in target/release
	$(CARGO) build --release --locked --workspace --exclude interop-tests

demo: build ## the main job of every system, live, in seconds
	@$(CARGO) build -q --release --locked -p interop-tests --bin kx-demo
	@$(TARGET_DIR)/kx-demo $(TARGET_DIR)

demo-vpn: build ## two gateways and a tunnel in a machine with a stock kernel: ESP, new keys, a dead peer, NAT; minutes
	@$(CARGO) build -q --release --locked -p interop-tests --bin kx-demo
	@$(TARGET_DIR)/kx-demo $(TARGET_DIR) vpn

deps: ## install the packages that the tests need (Debian, as root)
	@interop-tests/peers.sh

lint: ## format, clippy, licences, headers, man pages, scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) fmt --manifest-path interop-tests/fuzz/Cargo.toml --check
	$(CARGO) clippy --manifest-path interop-tests/fuzz/Cargo.toml --locked -- -D warnings
	@interop-tests/lint/run
	$(MAKE) lint-man

test: build ## every test against our binaries
	@KX_SLOW=1 KX_BIN=$(CURDIR)/$(TARGET_DIR) CARGO="$(CARGO)" interop-tests/test-lanes

build-aws-lc: build-deps ## the programs with AWS-LC built in, in target/aws-lc/release
	@interop-tests/install.sh cmake
	CARGO_TARGET_DIR=target/aws-lc $(CARGO) build --release --locked -p kxd -p kxc -p kxgencert \
		--features kxd/aws-lc,kxc/aws-lc,kxgencert/aws-lc

test-aws-lc: build-aws-lc ## the suite of the programs that speak TLS against that build
	KX_SLOW=1 KX_TLS_LIBRARY=aws-lc KX_BIN=$(CURDIR)/target/aws-lc/release $(CARGO) test --locked --no-fail-fast -p interop-tests --test "kxd_*"

check: deps lint test ## all that CI does: installs what it needs, then lints and tests
	@$(MAKE) -j2 check-packages check-instrumented

# Two by two, since they wait for downloads, installations and clocks: each has a target directory of its own.
check-packages:
	$(MAKE) -j1 test-aws-lc
	KX_PREBUILT=1 $(MAKE) -j1 deb rpm lint-packages test-packages

check-instrumented:
	$(MAKE) -j1 fuzz-smoke
	$(MAKE) -j1 miri

check-original: ## the compliance suite against the original (KX_REF_KXD, default Debian's)
	@interop-tests/check-original.sh

fuzz: build-deps ## every fuzz target for FUZZ_SECONDS
	@interop-tests/fuzz/run $(FUZZ_SECONDS)

# With one seed: a failure here is of the change, and comes again. What is new is looked for by `make fuzz`.
fuzz-smoke: build-deps ## every fuzz target for a few seconds, the same way each time
	@KX_FUZZ_SEED=1 interop-tests/fuzz/run 5

MIRI := $(CARGO) +nightly miri
miri: ## what is unsafe in libtcpcrypt, interpreted (a nightly toolchain with miri)
	@if $(MIRI) --version >/dev/null 2>&1 || \
		rustup component add --toolchain nightly miri rust-src || \
		rustup toolchain install nightly --profile minimal --component miri,rust-src; then \
		CARGO_TARGET_DIR=target/miri $(MIRI) test --locked -p libtcpcrypt --lib; \
	else \
		echo "SKIPPED miri: no nightly toolchain with it, and none to be had (interop-tests/SKIPS.md)"; \
	fi

bench: build ## criterion for the cores, whole processes beside the original
	$(CARGO) bench --locked -p kx-http -p kx-cert -p kx-log -p tcpcrypt-proto
	$(CARGO) build -q --release --locked -p interop-tests --bins
	@interop-tests/bench/run $(TARGET_DIR)

headers: ## regenerate include/*.h
	KX_BLESS=1 $(CARGO) test -p libkx --test header

hardware-test: build ## two SmartCard-HSMs in readers: EVERYTHING ON THEM IS DELETED (KX_HARDWARE_A, KX_HARDWARE_B)
	@interop-tests/hardware-test $(TARGET_DIR)

clean: ## remove what was built
	$(CARGO) clean
