#!/usr/bin/env bash
# The pool under 15,000 idle and 2,000 active miners: figures beside the goals, a few minutes. Part of `make bench`, also alone.
#
# usage: bench/stratum.sh [--only crowd,encrypted,verification,epoch] [--idle N] [--active N] [--mode light|full]
# The binary is target/release/headframe or $HEADFRAME, the load generator headframe-load beside it or $HEADFRAME_LOAD. The report is printed and kept in target/stratum-report.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=${HEADFRAME:-target/release/headframe}
[ -x "$binary" ] || { echo "bench: $binary is missing; run 'make bench' or 'cargo build --release -p headframe -p headframe-bench'" >&2; exit 1; }
mkdir -p target
ulimit -n "$(ulimit -Hn)"
env PYTHONDONTWRITEBYTECODE=1 python3 bench/stratum.py "$binary" --keep target/stratum-report.json "$@" | tee target/stratum-report.txt
