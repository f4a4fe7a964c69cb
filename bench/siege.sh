#!/usr/bin/env bash
# A thousand attackers that send random results at full rate against fifty honest miners, on a real pool over real sockets.
# Prints the honest miners' submit-to-answer times before and during the siege, and fails when the p99 doubled, or when
# anybody honest was refused or banned. The attackers run in the same process, so their own work is in the times, too.
#
# usage: bench/siege.sh [attackers] [honest] [seconds] [seconds between a miner's shares]
# By default 1000, 50, 240 and 3: some thousand honest shares, so that a p99 means something.
# The first thing it does is to find the honest miners' shares, which takes about 15 ms each. The report is kept in target/siege-report.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p target
# Each connection is two descriptors here, the miner's and the pool's.
ulimit -n "$(ulimit -Hn)"
HEADFRAME_SIEGE="${1:-1000},${2:-50},${3:-240},${4:-3}" cargo test ${PROFILE---release} -p headframe-stratum --test it -- \
    --exact siege::crowd::honest_miners_do_not_notice_the_liars --nocapture | tee target/siege-report.txt
grep -q ' 1 passed' target/siege-report.txt
