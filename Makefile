# Farshore's chores. Needs a Rust toolchain and make; everything else is installed by `make
# setup`, which test, demo and bench run first. FARSHORE_SKIP_SETUP=1 leaves the machine alone.

XTASK = cargo xtask
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)

.PHONY: help linker setup test check fmt demo bench guest clean

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

setup: linker
	@$(XTASK) setup

test: setup
	@$(XTASK) test

check: setup
	@$(XTASK) test --checks-only

demo bench guest: setup
	@$(XTASK) $@

fmt:
	cargo fmt --all

clean:
	cargo clean
