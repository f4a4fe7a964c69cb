# Every target may be run again at any time: what is done is not done twice. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help setup run check test lint bench bench-anomalies bench-nab openadr soak fuzz

# rustup's folder is not on the PATH of a shell that is older than its installation.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Lints and builds in one pass: clippy-driver is a whole compiler, so it may stand in for rustc on the crates of this
# workspace, and the tests then run on what it built. `cargo clippy` followed by `cargo build` would go through every
# dependency twice, once for metadata and once for code: measured on arrow alone, 21 CPU-seconds on top of 63, a third more,
# against 0.2 for this. The price: its objects are apart from those of a plain `cargo build`, so the first
# `make run` after a `make test` compiles our crates (not the dependencies) once more.
LINTED := RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__

# make soak KILLS=50 for a shorter one; make fuzz FUZZ_S=600 for longer ones; make run ARGS='--for 90s' for a demo that ends by itself.
KILLS ?= 1000
POOL_KILLS ?= 200
PAY_KILLS ?= 50
RETURNS ?= 200
REGISTRY_KILLS ?= 50
REGISTRY_CHANGES ?= 20000
PIPELINE_KILLS ?= 50
VIOLATION_KILLS ?= 20
FORWARD_KILLS ?= 60
WEEK_HOURS ?= 168
WEEK_MACHINES ?= 300
PAY_CRASHES ?= 10400
CASES ?= 20
SEEDS ?= 100000
SITE_SEQUENCES ?= 1000000
SITE_SIMULATED_EVENTS ?= 1000
OPENLEADR ?= 0.2.8
FUZZ_S ?= 60
# Properties are tried on the same cases each time, and on new ones by `make soak`.
PROPTEST_SEED ?= 20261125
test check lint: export PROPTEST_RNG_SEED := $(PROPTEST_SEED)
ARGS ?=
TRIALS ?= 150
CLEAN_RUNS ?= 10
NAB ?=

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

setup: ## install what `make run` needs and this machine lacks
	@deploy/setup.sh run

run: ## build and run the demo; Ctrl-C drains it
	@deploy/setup.sh run
	echo "==> building (the first time compiles every dependency: minutes)"
	cargo build --bin headframe
	echo "==> built in $$SECONDS s; starting the demo"
	exec cargo run --quiet --bin headframe -- demo $(ARGS)

test: ## format check, lints as errors, every test; what .ci/run calls. Names tests that passed only on a retry (target/flaky.txt), and notes the commit that passed (target/gate-passed)
	@mkdir -p target
	rm -f target/gate-passed target/flaky.txt target/nextest/ci/junit.xml
	deploy/setup.sh test
	echo "==> format"
	cargo fmt --all --check
	echo "==> build and lint"
	began=$$SECONDS
	commit=$$(git rev-parse HEAD 2>/dev/null || true)
	$(LINTED) cargo build --workspace --all-targets
	built=$$((SECONDS - began))
	echo "==> tests (built and linted in $$built s)"
	status=0
	if cargo nextest --version >/dev/null 2>&1; then
	    $(LINTED) cargo nextest run --workspace --profile ci || status=$$?
	    [ ! -f target/nextest/ci/junit.xml ] || python3 tests/report.py target/nextest/ci/junit.xml target/flaky.txt $$built
	else
	    $(LINTED) cargo test --workspace --no-fail-fast 2>&1 | tee target/test-output.txt || status=$$?
	    awk '/^test result:/ { passed += $$4; failed += $$6 } END { printf "%d passed, %d failed\n", passed, failed }' target/test-output.txt
	fi
	if [ $$status = 0 ] && [ -z "$$(git status --porcelain 2>&1)" ] && [ "$$commit" = "$$(git rev-parse HEAD)" ]; then
	    echo $$commit >target/gate-passed
	fi
	exit $$status

check: ## the inner loop: format check, lints as errors, unit tests and the tidy test
	@deploy/setup.sh run
	echo "==> format"
	cargo fmt --all --check
	echo "==> lint, unit tests and tidy"
	if cargo nextest --version >/dev/null 2>&1; then
	    $(LINTED) cargo nextest run --workspace --lib --bins --status-level fail
	    $(LINTED) cargo nextest run -p headframe --test it --status-level fail -E 'test(/^tidy/)'
	else
	    $(LINTED) cargo test --quiet --workspace --lib --bins
	    $(LINTED) cargo test --quiet --test it tidy
	fi
	echo "==> checked in $$SECONDS s"

lint: ## format check, lints as errors, the tidy test, and licences, sources and advisories of what we use
	@deploy/setup.sh lint
	echo "==> format"
	cargo fmt --all --check
	echo "==> build and lint"
	$(LINTED) cargo build --workspace --all-targets
	echo "==> tidy"
	$(LINTED) cargo test --quiet --test it tidy
	echo "==> licences, sources, bans and advisories"
	deploy/deny.sh
	echo "==> clean"

bench: ## release build, then our figures beside our peers'
	@deploy/setup.sh bench
	echo "==> building for production"
	cargo build --release -p headframe -p headframe-bench -p headframe-coopmine --bins
	bench/run.sh $(ARGS)

bench-anomalies: ## each of the 20 injected faults TRIALS=150 times, and CLEAN_RUNS=10 times 30 clean days of each signal
	@export HEADFRAME_TRIALS=$(TRIALS) HEADFRAME_CLEAN_RUNS=$(CLEAN_RUNS)
	$(LINTED) cargo test -p headframe-pipelines --test it -- --nocapture --test-threads 1 anomaly::catalogue

bench-nab: ## a score for each row of NAB=FOLDER, a clone of the Numenta Anomaly Benchmark, and its own scorer's verdict
	@[ -d "$(NAB)/data" ] || { echo "make bench-nab NAB=FOLDER: a clone of the Numenta Anomaly Benchmark"; exit 1; }
	HEADFRAME_NAB="$(NAB)" $(LINTED) cargo test -p headframe-pipelines --test it -- --nocapture anomaly::nab::a_benchmark_folder
	if [ -f "$(NAB)/run.py" ]; then
	    cd "$(NAB)"
	    grep -q '"headframe"' config/thresholds.json || python3 -c "import json; p = 'config/thresholds.json'; t = json.load(open(p)); t['headframe'] = {}; json.dump(t, open(p, 'w'), indent=4)"
	    python3 run.py -d headframe --optimize --score --normalize --skipConfirmation
	fi

openadr: ## the site controller at the OpenADR 3 server of OpenLEADR, over a PostgreSQL of its own; the first time builds that server
	@deploy/setup.sh test
	[ -x .parts/openleadr/bin/openleadr-vtn ] || cargo install openleadr-vtn@$(OPENLEADR) --debug --features internal-oauth --root .parts/openleadr
	$(LINTED) cargo build --bin headframe
	sources=$${CARGO_HOME:-$$HOME/.cargo}/registry/src
	python3 tests/clients/openadr_vtn.py target/debug/headframe .parts/openleadr/bin/openleadr-vtn $$sources/*/openleadr-vtn-$(OPENLEADR)

soak: ## the kill tests with KILLS=1000, POOL_KILLS=200 and PAY_KILLS=50 instead of 6, 5, 2, RETURNS=200 instead of 7, REGISTRY_KILLS=50 of REGISTRY_CHANGES=20000 operations each instead of 3 of 300, PIPELINE_KILLS=50 instead of 4, VIOLATION_KILLS=20 instead of 3, FORWARD_KILLS=60 instead of 6, a simulated mine of WEEK_MACHINES=300 for WEEK_HOURS=168 instead of 6 for 8, and more cases of the slow simulations
	@deploy/setup.sh test
	seed=$$RANDOM$$RANDOM
	echo "==> properties on new cases; PROPTEST_SEED=$$seed make test tries the same"
	PROPTEST_RNG_SEED=$$seed $(LINTED) cargo test --workspace --exclude headframe --no-fail-fast
	export HEADFRAME_KILLS=$(KILLS) HEADFRAME_POOL_KILLS=$(POOL_KILLS) HEADFRAME_PAY_KILLS=$(PAY_KILLS)
	export HEADFRAME_REGISTRY_KILLS=$(REGISTRY_KILLS) HEADFRAME_REGISTRY_CHANGES=$(REGISTRY_CHANGES) HEADFRAME_REGISTRY_IDS=150 HEADFRAME_REGISTRY_FLIPS=12
	export HEADFRAME_PIPELINE_KILLS=$(PIPELINE_KILLS) HEADFRAME_VIOLATION_KILLS=$(VIOLATION_KILLS) HEADFRAME_FORWARD_KILLS=$(FORWARD_KILLS)
	export HEADFRAME_WEEK_HOURS=$(WEEK_HOURS) HEADFRAME_WEEK_MACHINES=$(WEEK_MACHINES) HEADFRAME_WEEK_PATIENCE_S=3600
	export HEADFRAME_PAY_CRASHES=$(PAY_CRASHES) HEADFRAME_CASES=$(CASES) HEADFRAME_LIVE_RETURNS=$(RETURNS)
	tests="crashes_at_every_await pieces_add_up_to_the_whole brute_force_for_any_split numbers_group_as_names_do any_split_gives_the_same_answer"
	$(LINTED) cargo test -p headframe-pipelines -p headframe-query-engine --test it -- $$tests is_the_same_for_any_split are_the_same_for_any_split
	export SITE_SEQUENCES=$(SITE_SEQUENCES) SITE_SIMULATED_EVENTS=$(SITE_SIMULATED_EVENTS)
	$(LINTED) cargo test -p headframe-site --test it -- properties thousand_events --nocapture
	COOPMINE_SEEDS=$(SEEDS) $(LINTED) cargo test -p headframe-coopmine --test it -- no_overlap_nothing_wrong_upstream at_no_moment_two_coordinators_act
	tests="kill::kill_loses_nothing_and_doubles_nothing kill_pool::a_kill_costs_no_share_that_a_miner_was_told_is_ok"
	tests="$$tests kill_payments::kill_of_the_payer_pays_nothing_twice_and_loses_nothing"
	tests="$$tests live::subscriber_that_returns_over_kills_has_each_row_once"
	tests="$$tests kill_registry::kill_of_any_process_leaves_stream_bucket_table_and_answers_the_same"
	tests="$$tests kill_violations::kill_of_any_process_loses_and_doubles_no_transition"
	tests="$$tests kill_user_pipelines::kill_leaves_each_window_and_each_row_once_and_right"
	tests="$$tests forward::rows_of_a_site_are_at_its_office_once_over_kills_of_both"
	tests="$$tests simulated_week::a_mines_tables_say_what_its_script_of_faults_predicts"
	$(LINTED) cargo test --test it -- --exact $$tests --test-threads 1 --nocapture | tee target/soak.txt
	grep -q ' 9 passed' target/soak.txt
	echo "==> the reports are kept in target/kill-report.txt and target/pool-kill-report.txt"

fuzz: ## every fuzz target for FUZZ_S=60 seconds
	@deploy/setup.sh fuzz
	for folder in stratum query/front ingest; do
	    cp Cargo.lock $$folder/fuzz/Cargo.lock
	    for entry in $$folder/fuzz/src/bin/*.rs; do
	        name=$$(basename $$entry .rs)
	        found=target/fuzz/corpus/$$name
	        mkdir -p $$found
	        echo "==> $$name for $(FUZZ_S) s, after the build"
	        # The compiler is the stable one: sanitizers would need another, and there is no unsafe code to watch. What is new is kept
	        # apart from the committed seeds.
	        CARGO_TARGET_DIR=target/fuzz/build .parts/bin/cargo-fuzz fuzz run --fuzz-dir $$folder/fuzz --sanitizer none $$name $$found $$folder/fuzz/corpus/$$name \
	            -- -max_total_time=$(FUZZ_S) -print_final_stats=1 2>&1 | tee target/fuzz/$$name.log | grep -E '^(stat::|Done|==|.*(panicked|ERROR|SUMMARY))' || true
	        grep -q '^Done ' target/fuzz/$$name.log || { tail -40 target/fuzz/$$name.log; exit 1; }
	    done
	done
