# `make help` lists the targets. Needs cargo, a C compiler (cc) and bash, and openssl for the tests;
# PostgreSQL is brought by scripts/postgres/postgres.sh.

.DEFAULT_GOAL := help
.PHONY: help build test demo bench figures torture regress fuzz miri audit check clean tools openssl servers

MAJORS := 14 15 16 17 18

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(firstword $(MAKEFILE_LIST)) | \
		awk -F@ '{ printf "%-16s %s\n", $$1, $$2 }'

build: tools ## build target/release/zemi
	cargo build --release --locked

test: tools openssl servers ## run all tests, on PostgreSQL 14 to 18 (brings what is not installed)
	cargo test --locked --no-fail-fast

demo: tools ## show zemi at work on a throw-away PostgreSQL
	@scripts/demo.sh

bench: tools ## measure speed, latency and memory against COPY (BENCH=bulk,latency ROWS=30000)
	@scripts/bench/bench.sh target/bench.json

figures: tools ## write the table and plots of scripts/bench/README.md from the figures of the last bench
	@scripts/bench/bench.sh --figures target/bench.json

torture: tools servers ## try to make it lose a row (SECONDS=1800 SEED=1)
	TORTURE_SECONDS=$(or $(SECONDS),1800) TORTURE_SEED=$(or $(SEED),1) \
		cargo test --locked --test it -- --nocapture torture::

regress: tools servers ## run PostgreSQL's own regression suite under zemi (SUITE=…/src/test/regress MAJOR=15)
	REGRESS_SUITE=$(abspath $(SUITE)) REGRESS_MAJOR=$(or $(MAJOR),15) \
		cargo test --locked --test it -- --nocapture --ignored regression_suite

.PHONY: cross cross-test cross-same cross-order image image-test
cross: tools ## build static programs in dist/ (TARGETS='x86_64 aarch64-macos'; names: scripts/cross)
	@scripts/cross/cross.sh $(TARGETS)

cross-test: ## test them: static, small, and at work under qemu (needs root; TARGETS as above)
	@scripts/cross/test.sh $(TARGETS)

cross-same: ## test that another folder gives the same bytes (TARGETS=x86_64)
	@scripts/cross/same.sh $(TARGETS)

cross-order: ## find out anew which functions to place side by side in memory (needs valgrind)
	@scripts/cross/order.sh

image: ## build the image of Dockerfile.scratch with docker, podman or buildah (IMAGE=name)
	@scripts/cross/image.sh build

image-test: ## build it for each program in dist/, take it apart and run it (needs root)
	@scripts/cross/image.sh test

fuzz: tools ## look for bytes that break it (SECONDS=60 for each target, JOBS=2 at once, TARGETS=value)
	@scripts/fuzz/fuzz.sh $(or $(SECONDS),60) $(or $(JOBS),2) $(TARGETS)

miri: tools ## run the tests of the pure modules in miri, else with the address sanitizer
	@scripts/fuzz/miri.sh

audit: tools ## ask for advisories, licences and duplicates, as far as that can be asked here
	@scripts/audit/audit.sh

check: tools ## format, clippy and documentation, all without warnings
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked

clean: ## remove what was built (the cache of PostgreSQL servers stays)
	cargo clean

# Says in one line all that is missing.
tools:
	@missing=; \
	command -v cargo >/dev/null || \
		missing="$$missing; cargo (https://rustup.rs, Rust 1.88 or later)"; \
	command -v cc >/dev/null || missing="$$missing; cc (Debian: apt-get install gcc libc6-dev)"; \
	command -v bash >/dev/null || missing="$$missing; bash (Debian: apt-get install bash)"; \
	[ -z "$$missing" ] || { echo "missing:$${missing#;}" >&2; exit 1; }

# The tests make certificates. Brought like the servers: as root on Debian.
openssl:
	@command -v openssl >/dev/null || \
		bash -c '. scripts/apt.sh && apt_install openssl || \
			{ echo "missing: openssl (Debian: apt-get install openssl): $$apt_why" >&2; exit 1; }'

# Beforehand, so that downloads happen once and in sight.
servers:
	@for major in $(MAJORS); do \
		bin=$$(scripts/postgres/postgres.sh bin $$major) && echo "PostgreSQL $$major: $$bin" || exit 1; \
	done
