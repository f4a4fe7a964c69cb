#!/usr/bin/env bash
# A million rows out of every door, beside PostgreSQL 15 and DuckDB with the same rows.
#
# usage: bench/wires.sh [--rows N] [--repeats N]
# The binary is target/release/headframe or $HEADFRAME, the load generator headframe-load beside it or $HEADFRAME_LOAD. The report is printed and kept in target/wires-report.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=${HEADFRAME:-target/release/headframe}
[ -x "$binary" ] || { echo "bench: $binary is missing; run 'make bench'" >&2; exit 1; }
for venv in venv clients; do
    [ -x ".parts/$venv/bin/python" ] || { echo "bench: .parts/$venv is missing; run 'deploy/setup.sh bench'" >&2; exit 1; }
done
mkdir -p target
env PYTHONDONTWRITEBYTECODE=1 .parts/venv/bin/python bench/wires.py "$binary" "$@" | tee target/wires-report.txt
