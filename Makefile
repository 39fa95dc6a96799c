# fourwave: `make demo` shows it, `make test` checks it. Debian and Ubuntu get what is missing through apt; elsewhere the
# names of what is missing are printed.

# What the build and the demo need, as Debian calls it.
APT_BUILD := gcc make clang m4 pkg-config libelf-dev zlib1g-dev linux-libc-dev iproute2 ethtool
# Programs the tests talk to, and the tools they use.
APT_TEST := iperf3 sockperf netcat-openbsd curl nginx wrk python3 iputils-ping tcpdump tshark util-linux procps libcap2-bin \
	prometheus shellcheck systemd python3-seccomp

RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
RUSTUP := curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y

export PATH := $(HOME)/.cargo/bin:$(PATH)
# An absolute path, since cargo would take a relative one from the folder it is started in.
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-nic goldens fuzz fuzz-keep sim bench bench-loss bench-million bench-memory bench-turns bench-icount bench-icount-keep soak packetdrill build deb doc clean need-root need-cargo need-build need-test need-namespaces

# Preparations come in order, whatever -j says.
.NOTPARALLEL:

help:
	@echo "make demo    install what is missing (apt), build, and show it; needs root"
	echo "make test    formatting, lints, dependency arrows, documentation, all tests; needs root"
	echo "make test-nic [KERNEL=… MODULES=… NICS=…]   the drivers igb and virtio_net, in a guest under QEMU: docs/NICS.md; needs root"
	echo "make goldens the goodput tables and plots of docs/GOODPUT.md, computed anew: some minutes"
	echo "make fuzz TARGET=… [RUNS=… | TIME=…]   one fuzz target, guided by coverage: $(FUZZ_TARGETS)"
	echo "make fuzz-keep TARGET=…   what it found new goes into the corpus, as little as covers all"
	echo "make sim SEEDS=1..1001   random worlds of the simulator with these seeds; docs/SIMULATOR.md has more"
	echo "make packetdrill PACKETDRILL=… PKT_DIR=…   a folder of packetdrill scripts against the stack; needs root"
	echo "make soak [MINUTES=30] [SEED=1]   mixed traffic with the kernel, impaired paths and faults; nothing may be lost or grow; needs root"
	echo "make bench [ROUNDS=5]   everything side by side: bench/results/bench.md; some 15 minutes; needs root"
	echo "make bench-loss [ROUNDS=5]   goodput over a lossy path, beside the kernel's TCP: bench/results/goodput.md; needs root"
	echo "make bench-million   a million connections over AF_XDP, and a million more that come and go: some 6 minutes, 4 GB; needs root"
	echo "make bench-memory   the core in memory, beside smoltcp: docs/PERFORMANCE.md; some 3 minutes, no root"
	echo "make bench-turns   one connection, smoltcp and ten million by turns in one process: some 3 minutes, 10 GB, no root"
	echo "make bench-icount   instructions of each operation, held against bench/icount.txt; needs valgrind, some 3 minutes, no root"
	echo "make bench-icount-keep   the same, and what is lower or new is kept there"
	echo "make build   the release binary, $(TARGET_DIR)/release/fourwave"
	echo "make deb     a Debian package of it, in $(TARGET_DIR)/debian: deploy/README.md"
	echo "make doc     the documentation of all crates"
	echo "make clean   remove what was built"

demo: need-root need-cargo need-build
	@cargo build --release --locked --package fourwave-cli
	exec "$(TARGET_DIR)/release/fourwave" demo

test: need-root need-cargo need-build need-test need-namespaces
	@step() { printf '\n== %s\n' "$$*"; "$$@"; }
	step cargo fmt --all --check
	step cargo clippy --workspace --all-targets --locked -- -D warnings
	step cargo clippy --package fourwave --all-targets --features tokio --locked -- -D warnings
	step cargo deny --locked check --allow unused-wrapper --allow parse-error --hide-inclusion-graph bans licenses sources
	step cargo run --quiet --locked --package xtask -- check
	step env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --features fourwave/tokio --locked
	step cargo test --workspace --features fourwave/tokio --locked
	printf '\nall passed\n'

# The guest's kernel and the folder of its modules; QEMU 8 or later; ACCEL=tcg,thread=multi where /dev/kvm does not do.
KERNEL ?= /boot/vmlinuz-$(shell uname -r)
MODULES ?= /lib/modules/$(shell uname -r)
NICS ?= igb virtio
QEMU ?= qemu-system-x86_64
BUSYBOX ?= $(shell command -v busybox)
test-nic: need-root need-cargo need-build
	@missing=()
	command -v "$(QEMU)" >/dev/null || missing+=("QEMU 8 or later (qemu-system-x86, or QEMU=…)")
	{ [ -n "$(BUSYBOX)" ] && ! ldd "$(BUSYBOX)" >/dev/null 2>&1; } || missing+=("a static busybox (busybox-static, or BUSYBOX=…)")
	[ -r "$(KERNEL)" ] || missing+=("a kernel (KERNEL=/path/to/vmlinuz)")
	[ -d "$(MODULES)" ] || missing+=("its modules (MODULES=/path/to/lib/modules/VERSION)")
	if [ "$${#missing[@]}" != 0 ]; then
		list=$$(printf ', %s' "$${missing[@]}")
		echo "The guest of test-nic needs what is missing here: $${list:2}" >&2
		exit 1
	fi
	cargo build --locked --package fourwave-cli
	QEMU="$(QEMU)" BUSYBOX="$(BUSYBOX)" exec timeout --foreground 3600 unshare --net --mount sh -ec '
		mount -t tmpfs tmpfs /run
		ip link set lo up
		exec python3 deploy/lab/nic/test_nic.py "$$@"
	' sh "$(TARGET_DIR)/debug/fourwave" "$(KERNEL)" "$(MODULES)" $(NICS)

# STACK=fourwave leaves smoltcp's lines as they are.
goldens: need-cargo
	@cargo run --quiet --release --locked --package fourwave-sim --example goldens -- $(STACK)

# Where each target is: a test of this name with `fuzz_` before it. docs/FUZZING.md has the rest.
FUZZ_wire := --package fourwave-wire --test fuzz
FUZZ_options := --package fourwave-wire --test fuzz
FUZZ_wheel := --package fourwave-wheel --test fuzz
FUZZ_bpf := --package fourwave-pcap --test fuzz
FUZZ_scoreboard := --package fourwave-tcp --lib
FUZZ_reassembly := --package fourwave-tcp --lib
FUZZ_states := --package fourwave-tcp --test fuzz
FUZZ_half_open := --package fourwave-tcp --test fuzz
FUZZ_time_wait := --package fourwave-tcp --test fuzz
FUZZ_sequences := --package fourwave-sim --test fuzz
FUZZ_TARGETS := $(sort $(patsubst FUZZ_%,%,$(filter FUZZ_%,$(.VARIABLES))))
# The modules of those that are inside a crate.
IN_scoreboard := send::scoreboard::fuzz::
IN_reassembly := recv::reassembly::fuzz::
FUZZ_TEST = $(IN_$(TARGET))fuzz_$(TARGET)
# Executions, or seconds where TIME is given.
RUNS ?= 1000000
MAX_LEN ?= 96
FUZZ_HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
FUZZ_DIR := $(TARGET_DIR)/fuzzing
# What cargo-bolero and cargo-fuzz set, as far as a stable compiler takes it; --target keeps it from build scripts.
FUZZ_RUSTFLAGS := --cfg fuzzing --cfg fuzzing_libfuzzer -Cpasses=sancov-module \
	-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table
# Where the bytes are what is parsed libFuzzer learns from what they are compared with; elsewhere that only costs time.
FUZZ_COMPARES := $(if $(filter wire options,$(TARGET)),-Cllvm-args=-sanitizer-coverage-trace-compares)

# $(1): what libFuzzer is told.
define run_fuzzer
	if [ -z "$(FUZZ_$(TARGET))" ]; then
		echo "Say which target: make $@ TARGET=…, one of $(FUZZ_TARGETS)" >&2
		exit 2
	fi
	command -v c++ >/dev/null || { echo "libFuzzer is compiled by a C++ compiler, which is missing" >&2; exit 1; }
	mkdir -p "$(FUZZ_DIR)/findings"
	cargo run --quiet --locked --package fourwave-fuzz -- unpack $(TARGET) "$(FUZZ_DIR)/corpus/$(TARGET)"
	# Memory that a case has given back is kept for the next one. By its name libFuzzer starts the test again to merge.
	BOLERO_LIBTEST_HARNESS=1 BOLERO_TEST_NAME="$(FUZZ_TEST)" \
	MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000 \
	RUSTFLAGS="$(FUZZ_RUSTFLAGS) $(FUZZ_COMPARES)" BOLERO_LIBFUZZER_ARGS="$(strip $(1))" \
		cargo test --quiet --locked --profile fuzz --target $(FUZZ_HOST) --target-dir "$(FUZZ_DIR)/build$(if $(FUZZ_COMPARES),-compares)" \
		$(FUZZ_$(TARGET)) -- --nocapture --exact $(FUZZ_TEST)
endef

fuzz: need-cargo
	@$(call run_fuzzer,$(FUZZ_DIR)/corpus/$(TARGET) -artifact_prefix=$(FUZZ_DIR)/findings/$(TARGET)- -max_len=$(MAX_LEN) \
		-timeout=10 -entropic=0 -print_final_stats=1 $(if $(TIME),-max_total_time=$(TIME),-runs=$(RUNS)))

fuzz-keep: need-cargo
	@rm -rf "$(FUZZ_DIR)/least/$(TARGET)"
	mkdir -p "$(FUZZ_DIR)/least/$(TARGET)"
	$(call run_fuzzer,-merge=1 $(FUZZ_DIR)/least/$(TARGET) $(FUZZ_DIR)/corpus/$(TARGET))
	cargo run --quiet --locked --package fourwave-fuzz -- pack $(TARGET) "$(FUZZ_DIR)/least/$(TARGET)"

# Worlds of the simulator by their seeds: those from the first number up to the second, which is not one of them.
SEEDS ?= 1..1001
sim: need-cargo
	@if ! [[ "$(SEEDS)" =~ ^([0-9]+)\.\.([0-9]+)$$ ]] || [ "$${BASH_REMATCH[1]}" -ge "$${BASH_REMATCH[2]}" ]; then
		echo "Say which seeds, from the first up to one behind the last: make sim SEEDS=1..1001, not $(SEEDS)" >&2
		exit 2
	fi
	SIM_SEEDS="$(SEEDS)" cargo test --release --quiet --locked --package fourwave-sim --test random -- --nocapture

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

# 2 round-trip times, 6 loss rates, 4 pairs of ends: about 4 minutes a round. The machine should have nothing else to do.
ROUNDS := 5
bench-loss: need-root need-cargo need-build need-namespaces
	@cargo build --release --locked --package fourwave-bench
	exec "$(TARGET_DIR)/release/goodput" run --rounds "$(ROUNDS)" \
		--json bench/results/goodput.json --markdown bench/results/goodput.md

build: need-cargo need-build
	@cargo build --release --locked --package fourwave-cli
	echo "built $(TARGET_DIR)/release/fourwave"

# cargo-deb takes what is in deploy/ and the licences of what is linked.
deb: need-cargo need-build
	@if ! cargo deb --version >/dev/null 2>&1; then
		echo "installing cargo-deb" >&2
		cargo install --locked cargo-deb
	fi
	mkdir -p target
	python3 deploy/third-party.py > target/third-party.txt
	cargo deb --locked --strip --package fourwave-cli

# Programs that are compared with where they are installed, and left out by name where not.
bench: need-root need-cargo need-build need-namespaces
	@cargo build --release --locked --package fourwave-cli
	exec "$(TARGET_DIR)/release/fourwave" bench --rounds "$(ROUNDS)" --results bench/results

# CONNECTIONS=100000 for fewer; bench/README.md has what came of it.
CONNECTIONS := 1000000
bench-million: need-root need-cargo need-build need-namespaces
	@cargo build --release --locked --package fourwave-cli
	exec bench/million.sh "$(TARGET_DIR)/release/fourwave" bench/results "$(CONNECTIONS)"

# What is measured without a device (docs/PERFORMANCE.md). FOURWAVE_BENCH_MOST=10000000: up to ten million connections.
bench-memory: need-cargo need-build
	@cargo bench --locked --package fourwave-bench --bench in_memory
	cargo run --quiet --release --locked --package fourwave-bench --example ratios

# By turns in one process: what the ratios of docs/PERFORMANCE.md are. Ten million connections take 10 GB, and
# 160 times 500,000 segments are two cycles of their timers, of four rounds each.
TURNS ?= 160 500000 segment/1 smoltcp:segment/1 batch_segment/1 smoltcp:batch_segment/1 batch_random/10000000
bench-turns: need-cargo need-build
	@cargo run --quiet --release --locked --package fourwave-bench --example turns -- $(TURNS)

bench-icount: need-cargo need-build
	@cargo run --quiet --release --locked --package fourwave-bench --example icount

bench-icount-keep: need-cargo need-build
	@cargo run --quiet --release --locked --package fourwave-bench --example icount -- keep

# Every byte of every connection is accounted for at the end: docs/OPERATIONS.md. The report goes to bench/results/soak.md.
MINUTES ?= 30
SEED ?= 1
soak: need-root need-cargo need-build need-test need-namespaces
	@cargo build --release --locked --package fourwave-cli --package fourwave-bench
	exec "$(TARGET_DIR)/release/soak" --minutes "$(MINUTES)" --seed "$(SEED)" \
		--json "$(TARGET_DIR)/soak.json" --report bench/results/soak.md

doc: need-cargo need-build
	@cargo doc --workspace --no-deps --features fourwave/tokio --locked

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
			# RUNLEVEL: nginx is a program here, not a service of this machine.
			export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
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
