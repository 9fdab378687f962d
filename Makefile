# One line per verb; `make` alone lists them.

# With CI=true the committed lock file is used as it is.
LOCKED := $(if $(CI),--locked)

# Static programs need nothing of the system, so an image holds nothing else (infra/Dockerfile).
MUSL := $(shell uname -m)-unknown-linux-musl
STATIC := cargo build $(LOCKED) --workspace --exclude gnomon-tests --bins --target $(MUSL)

.PHONY: help run build static check test lint fmt bench path faults up down setup clean
help:  ## list the verbs
	@sed -n 's/^\([a-z]*\): [^#]*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'
# Optimised: the first build takes longer once, but what a newcomer then sees is the real speed.
run:   ## build and run everything on the embedded default: devices on 1883, HTTP on 8080
	@cargo run $(LOCKED) --release --package gnomon -- run
build: ## build the optimised binary, target/release/gnomon
	@cargo build $(LOCKED) --release --package gnomon
static: ## build every program without dependencies on the system, into target/static; needs musl-tools
	@rustup target add $(MUSL)
	@$(STATIC) --release
	@mkdir -p target/static
	@find target/$(MUSL)/release -maxdepth 1 -type f -executable -name 'gnomon*' -exec cp {} target/static/ ';'
check: ## check the thing models and rules of this repository
	@cargo run $(LOCKED) --quiet --release --package gnomon -- check
test:  ## install what the tests need if it is missing, and run all of them
	@tests/run.sh $(LOCKED)
lint:  ## formatting, clippy without warnings, licences and advisories (if cargo-deny is installed)
	@tests/lint.sh $(LOCKED)
fmt:   ## format the code
	@cargo fmt --all
faults: ## let every part of a deployment on NATS and Redis fail, ROUNDS times (default 5)
	@tests/setup.sh
	@cargo build $(LOCKED) --workspace --all-targets
	@FAULT_ROUNDS=$(or $(ROUNDS),5) TESTED_GNOMON=target/debug/gnomon cargo test $(LOCKED) --package gnomon-tests --test faults -- --nocapture
bench: ## measure messages per second and per CPU-second, latency, memory (docs/benchmarks.md)
	@cargo build $(LOCKED) --release --package gnomon
	@cargo run $(LOCKED) --release --package gnomon-tests --bin bench -- $(ARGS)
path:  ## measure the full path on NATS and Redis beside a bare loop, and how cost grows (docs/benchmarks.md)
	@tests/setup.sh
	@cargo build $(LOCKED) --release --package gnomon-telemetry
	@cargo run $(LOCKED) --release --package gnomon-adapters --example full_path -- $(ARGS)
up:    ## start NATS, Redis and Mosquitto on free loopback ports, data under target/stack
	@tests/setup.sh
	@cargo run $(LOCKED) --quiet --package gnomon-tests --bin stack -- up
down:  ## stop what `make up` started; the data stays
	@cargo run $(LOCKED) --quiet --package gnomon-tests --bin stack -- down
setup: ## install what the tests need: Debian packages when root, Python packages under target/
	@tests/setup.sh
clean: ## remove everything that was built or installed under target/
	@cargo clean
