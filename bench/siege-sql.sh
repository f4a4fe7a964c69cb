#!/usr/bin/env bash
# Hostile SQL by sixteen clients for 120 s over HTTP, PostgreSQL's wire and Flight beside fifty miners: the miners' times, the probes', the pages' and the workers' memory, beside the goals.
#
# usage: bench/siege-sql.sh [--clients N] [--postgres-clients N] [--flight-clients N] [--miners N] [--seconds N] [--quiet-seconds N] [--rate SHARES_PER_S] [--worker-memory-mib N] [--worker-niceness N]
# The binary is target/release/headframe or $HEADFRAME, the load generator headframe-load beside it or $HEADFRAME_LOAD. The report is printed
# and kept in target/siege-sql-report.txt, all figures in target/siege-sql.json; it takes about five minutes. Exit code 1 when a goal is missed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=${HEADFRAME:-target/release/headframe}
[ -x "$binary" ] || { echo "siege: $binary is missing; run 'cargo build --release -p headframe -p headframe-bench'" >&2; exit 1; }
mkdir -p target
ulimit -n "$(ulimit -Hn)"
env PYTHONDONTWRITEBYTECODE=1 python3 bench/siege_sql.py "$binary" "$@" | tee target/siege-sql-report.txt
