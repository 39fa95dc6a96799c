# fourwave: `make demo` shows it, `make test` checks it. Debian and Ubuntu get what is missing through apt; elsewhere the
# names of what is missing are printed.

# What the build and the demo need, as Debian calls it.
APT_BUILD := gcc make clang m4 pkg-config libelf-dev zlib1g-dev linux-libc-dev iproute2 ethtool
# Programs the tests talk to, and the tools they use.
APT_TEST := iperf3 sockperf netcat-openbsd curl python3 iputils-ping tcpdump util-linux procps

RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
RUSTUP := curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y

export PATH := $(HOME)/.cargo/bin:$(PATH)
# An absolute path, since cargo would take a relative one from the folder it is started in.
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test packetdrill build doc clean need-root need-cargo need-build need-test need-namespaces

# Preparations come in order, whatever -j says.
.NOTPARALLEL:

help:
	@echo "make demo    install what is missing (apt), build, and show it; needs root"
	echo "make test    formatting, lints, dependency arrows, all tests; needs root"
	echo "make packetdrill PACKETDRILL=… PKT_DIR=…   a folder of packetdrill scripts against the stack; needs root"
	echo "make build   the release binary, $(TARGET_DIR)/release/fourwave"
	echo "make doc     the documentation of all crates"
	echo "make clean   remove what was built"

demo: need-root need-cargo need-build
	@cargo build --release --locked --package fourwave-cli
	exec "$(TARGET_DIR)/release/fourwave" demo

test: need-root need-cargo need-build need-test need-namespaces
	@step() { printf '\n== %s\n' "$$*"; "$$@"; }
	step cargo fmt --all --check
	step cargo clippy --workspace --all-targets --locked -- -D warnings
	step cargo deny --locked check --allow unused-wrapper --allow parse-error --hide-inclusion-graph bans licenses sources
	step cargo run --quiet --locked --package xtask -- check
	step cargo test --workspace --locked
	printf '\nall passed\n'

# PACKETDRILL is the program, built elsewhere (github.com/google/packetdrill); crates/packetdrill/README.md has the rest.
packetdrill:
	@if [ ! -x "$(PACKETDRILL)" ] || [ ! -d "$(PKT_DIR)" ]; then
		echo "Say where packetdrill and its scripts are: make packetdrill PACKETDRILL=/path/to/packetdrill PKT_DIR=/path/to/scripts" >&2
		exit 2
	fi
	$(MAKE) --no-print-directory need-root need-cargo
	cargo build --quiet --locked --package fourwave-packetdrill
	PACKETDRILL="$(PACKETDRILL)" PKT_DIR="$(PKT_DIR)" \
		crates/packetdrill/run.sh "$(TARGET_DIR)/debug/libfourwave_packetdrill.so"

build: need-cargo need-build
	@cargo build --release --locked --package fourwave-cli
	echo "built $(TARGET_DIR)/release/fourwave"

doc: need-cargo need-build
	@cargo doc --workspace --no-deps --locked

clean:
	@cargo clean

need-root:
	@if [ "$$(id -u)" != 0 ]; then
		echo "This needs root, for network namespaces and XDP programs: run it again with sudo." >&2
		exit 1
	fi

need-cargo:
	@have=$$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
	if [ -z "$$have" ]; then
		printf '%s\n' "cargo is missing: install Rust with the line below, then run make again." "$(RUSTUP)" >&2
		exit 1
	fi
	if [ "$$(printf '%s\n' "$$have" "$(RUST_VERSION)" | sort -V | head -n1)" != "$(RUST_VERSION)" ]; then
		echo "cargo is $$have and at least $(RUST_VERSION) is needed: install it with the line below, then run make again." >&2
		if command -v rustup >/dev/null; then echo "rustup update stable" >&2; else echo "$(RUSTUP)" >&2; fi
		exit 1
	fi

# $(1): names of packages, $(2): what they are needed for.
define need_packages
	if ! command -v dpkg-query >/dev/null; then
		echo "No dpkg here, so nothing is installed: $(2) needs what Debian calls $(1)." >&2
	else
		missing=()
		for package in $(1); do
			status=$$(dpkg-query --show --showformat '$${db:Status-Status}' "$$package" 2>/dev/null || true)
			[ "$$status" = installed ] || missing+=("$$package")
		done
		if [ "$${#missing[@]}" != 0 ]; then
			if [ "$$(id -u)" != 0 ]; then
				echo "$(2) needs packages that are missing: sudo apt-get install $${missing[*]}" >&2
				exit 1
			fi
			echo "installing $${missing[*]}" >&2
			export DEBIAN_FRONTEND=noninteractive
			apt-get update -qq >&2
			apt-get install -y -qq --no-install-recommends "$${missing[@]}" >&2
		fi
	fi
endef

need-build:
	@$(call need_packages,$(APT_BUILD),the build)

need-test: need-cargo
	@$(call need_packages,$(APT_TEST),the test run)
	for component in fmt clippy; do
		if ! cargo $$component --version >/dev/null 2>&1; then
			echo "cargo $$component is missing: rustup component add rustfmt clippy" >&2
			exit 1
		fi
	done
	if ! cargo deny --version >/dev/null 2>&1; then
		echo "installing cargo-deny" >&2
		cargo install --locked cargo-deny
	fi

# A container may run as root and still not be allowed to.
need-namespaces: need-root
	@problems=()
	unshare --net --mount true 2>/dev/null || problems+=("network and mount namespaces (CAP_SYS_ADMIN)")
	unshare --net ip link set lo up 2>/dev/null || problems+=("to configure interfaces (CAP_NET_ADMIN)")
	grep -q ^XDP /proc/net/protocols || problems+=("AF_XDP sockets (CONFIG_XDP_SOCKETS)")
	if [ "$${#problems[@]}" != 0 ]; then
		printf 'The privileged tests need what this machine does not give them: %s\n' "$${problems[@]}" >&2
		exit 1
	fi
