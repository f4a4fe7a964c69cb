#!/usr/bin/env bash
# Minute readings of a thousand machines for a week, and the report of what each drew on each day, beside PostgreSQL 15 with the same rows. Part of
# `make bench`, also alone; about ten minutes.
#
# usage: bench/energy.sh [--machines N] [--days N] [--repeats N]
# --days 365 is a year: 526 million rows, for which PostgreSQL needs some 60 GB of disk and an hour. The binary is target/release/headframe or
# $HEADFRAME. The report is printed and kept in target/energy-report.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=${HEADFRAME:-target/release/headframe}
[ -x "$binary" ] || { echo "bench: $binary is missing; run 'cargo build --release -p headframe'" >&2; exit 1; }
[ -x .parts/venv/bin/python ] || { echo "bench: .parts/venv is missing; run 'make bench'" >&2; exit 1; }
mkdir -p target
env PYTHONDONTWRITEBYTECODE=1 .parts/venv/bin/python bench/energy.py "$binary" "$@" | tee target/energy-report.txt
