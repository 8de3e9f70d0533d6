# Farshore's chores. Needs a Rust toolchain and make; everything else is installed by `make
# setup`, which test, demo and bench run first. FARSHORE_SKIP_SETUP=1 leaves the machine alone.

XTASK = cargo xtask
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)

# What is built once and says nothing meanwhile would look like a hang.
TARGET = $(or $(CARGO_TARGET_DIR),target)

.PHONY: help linker tool setup test check fmt demo bench guest clean

help:
	@echo "make test    set up, then run every check and every test"
	@echo "make check   every check, no tests"
	@echo "make demo    set up, then show a machine replicated, lost, and brought back"
	@echo "make bench   set up, then measure"
	@echo "make guest   build the demo guest's disks"
	@echo "make setup   install what is missing (Debian 12 or newer), asking nothing"
	@echo "make fmt     format the code"
	@echo "make clean   remove everything built"

# The one thing that cannot be done in Rust: Rust itself needs a linker.
linker:
	@command -v cc >/dev/null || [ "$(FARSHORE_SKIP_SETUP)" = 1 ] || { \
		echo "setup: installing gcc libc6-dev"; \
		$(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends gcc libc6-dev; }

tool: linker
	@[ -x $(TARGET)/debug/xtask ] || { \
		echo "building xtask, the tool that does the rest; some minutes, once"; \
		cargo build --package xtask; }

setup: tool
	@$(XTASK) setup

test: setup
	@$(XTASK) test

check: setup
	@$(XTASK) test --checks-only

demo bench guest: setup
	@[ $@ = guest ] || [ -x $(TARGET)/release/farshore ] || \
		echo "a release build comes first: 20 to 30 minutes on two cores, 3.5 GB of disk"
	@$(XTASK) $@

fmt:
	cargo fmt --all

clean:
	cargo clean
