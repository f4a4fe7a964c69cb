#!/usr/bin/env bash
# Measures this build: rows through the HTTP door into raw tables and rollups, then five dashboard queries.
#
# usage: bench/run.sh [ROWS]   (200,000 by default; the binary is target/release/headframe or $HEADFRAME)
set -euo pipefail
cd "$(dirname "$0")/.."
rows=${1:-200000}
binary=${HEADFRAME:-target/release/headframe}
[ -x "$binary" ] || { echo "bench: $binary is missing; run 'make bench'" >&2; exit 1; }
exec python3 bench/measure.py "$binary" "$rows"
