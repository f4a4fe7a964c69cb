#!/usr/bin/env bash
# Subscribers of a stream under load: rows a second to all of them, the time from the acknowledgement's request to the subscriber, and the
# memory of one subscriber, beside the goals.
#
# usage: bench/live.sh [--subscribers N] [--seconds N] [--rate ROWS_PER_S]
# The binary is target/release/headframe or $HEADFRAME. The report is printed and kept in target/live-report.txt. Exit code 1 when a goal is missed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=${HEADFRAME:-target/release/headframe}
[ -x "$binary" ] || { echo "live: $binary is missing; run 'cargo build --release -p headframe'" >&2; exit 1; }
mkdir -p target
ulimit -n "$(ulimit -Hn)"
env PYTHONDONTWRITEBYTECODE=1 python3 bench/live.py "$binary" "$@" | tee target/live-report.txt
