#!/usr/bin/env bash
# Our figures beside our peers', from one run on this machine. `make bench` builds what it needs and calls it.
#
# usage: bench/run.sh [--rows N] [--payout-rows N] [--only ours,postgres,pathway,readers,payouts]
# Without --only the pool's own figures follow, from bench/stratum.sh, and a worker's hashing, from bench/hashing.sh.
# The binary is target/release/headframe or $HEADFRAME, the load generator headframe-load beside it or $HEADFRAME_LOAD. The report is printed and kept in target/bench-report.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=${HEADFRAME:-target/release/headframe}
[ -x "$binary" ] || { echo "bench: $binary is missing; run 'make bench'" >&2; exit 1; }
[ -x .parts/venv/bin/python ] || { echo "bench: .parts/venv is missing; run 'make bench'" >&2; exit 1; }
mkdir -p target
env PYTHONDONTWRITEBYTECODE=1 .parts/venv/bin/python bench/compare.py "$binary" "$@" | tee target/bench-report.txt
# Who chooses peers asks about tables.
if [[ " $* " != *" --only"* ]]; then
    bench/stratum.sh
    bench/hashing.sh | tee target/hashing-report.txt
fi
