#!/usr/bin/env bash
# Visitors with the pool's page open while miners mine: how long what the page asks for takes, and whether shares are taken as fast as without them.
#
# usage: bench/visitors.sh [--visitors N] [--pages N] [--seconds N] [--miners N] [--rate SHARES_PER_S]
# By default 2000, 500 live pages of ten rows a second, 20 s (for each of the two parts), 15000 and 750. The binary is target/release/headframe or $HEADFRAME. The visitors run in one
# process of Python on the same machine, so their own work is in the times, too. The report is printed and kept in target/visitors-report.txt.
# Exit code 1 when a goal is missed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=${HEADFRAME:-target/release/headframe}
[ -x "$binary" ] || { echo "visitors: $binary is missing; run 'cargo build --release -p headframe'" >&2; exit 1; }
mkdir -p target
ulimit -n "$(ulimit -Hn)"
env PYTHONDONTWRITEBYTECODE=1 python3 bench/visitors.py "$binary" "$@" | tee target/visitors-report.txt
