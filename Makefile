# One-line targets: the work itself lives in cargo and in tests/scripts.

SEEDS ?= 20000
ROUNDS ?= 200
SECS ?= 60
KILLS ?= 20

.DEFAULT_GOAL := help
.PHONY: help demo test check build soak soak-kill soak-san bench-engine bench-san fuzz clean

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22

demo: ## installs what the build needs and shows what exists at work
	@tests/scripts/demo.sh

test: ## installs what the tests need and runs them all
	@tests/scripts/test.sh full

check: ## the part of the tests that needs no root and installs nothing
	@tests/scripts/test.sh check

build: ## builds everything, optimized
	@tests/scripts/cargo.sh build --release --workspace

soak: ## the crash simulation over SEEDS=N seeds
	@ASHLAR_SIM_SEEDS=$(SEEDS) tests/scripts/soak.sh simulation

soak-kill: ## kill -9 under load, ROUNDS=N times
	@ASHLAR_KILL_ROUNDS=$(ROUNDS) tests/scripts/soak.sh kill

soak-san: ## kill -9 of the daemon under verified load, KILLS=N times, every 30 s
	@ASHLAR_SOAK_KILLS=$(KILLS) ASHLAR_SOAK_INTERVAL_MS=30000 tests/scripts/soak.sh san soak::

bench-engine: ## the engine's benchmark: a table, and JSON in bench-results/
	@tests/scripts/bench-engine.sh

bench-san: ## the iSCSI target against tgt: a table, and JSON in bench-results/
	@tests/scripts/bench-san.sh

fuzz: ## every fuzz target for SECS=N seconds
	@tests/scripts/fuzz.sh $(SECS)

clean: ## removes what was built
	@rm -rf fuzz/target fuzz/artifacts fuzz/Cargo.lock bench-results && cargo clean
