#!/usr/bin/env bash
# What a worker hashes beside the RandomX library's own batch benchmark, on the same threads: light and full. Part of `make bench`, also alone.
#
# usage: bench/hashing.sh [--threads N] [--seconds N] [--modes "light full"]
# The worker is target/release/coopmine or $COOPMINE. The peer is `randomx-benchmark`, which the library's sources in the crate randomx-rs build
# beside the library; it is found under target/, or is $RANDOMX_BENCHMARK. A machine that does something else meanwhile measures nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
threads=$(nproc) seconds=20 modes="light full"
while [ $# -gt 0 ]; do
    case $1 in
    --threads) threads=$2 ;;
    --seconds) seconds=$2 ;;
    --modes) modes=$2 ;;
    *) sed -n '4,6s/^# \?//p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done
ours=${COOPMINE:-target/release/coopmine}
[ -x "$ours" ] || { echo "bench: $ours is missing; run 'cargo build --release -p headframe-coopmine'" >&2; exit 1; }
peer=${RANDOMX_BENCHMARK:-}
for found in target/release/build/randomx-rs-*/out/build/randomx-benchmark target/debug/build/randomx-rs-*/out/build/randomx-benchmark; do
    if [ -z "$peer" ] && [ -x "$found" ]; then peer=$found; fi
done
[ -n "$peer" ] || { echo "bench: there is no randomx-benchmark; build the workspace first, or name it in RANDOMX_BENCHMARK" >&2; exit 1; }

reserved=$(cat /proc/sys/vm/nr_hugepages 2>/dev/null || echo 0)
echo "threads: $threads; reserved huge pages: $reserved; transparent ones: $(cat /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null || echo unknown)"
for mode in $modes; do
    # So many hashes as take about the time: a thread computes some thirty a second in light mode, some three hundred in full mode.
    flags=(--verify --jit --threads "$threads" --init "$threads" --nonces $((seconds * threads * 30)))
    if [ "$mode" = full ]; then flags=(--mine --jit --threads "$threads" --init "$threads" --nonces $((seconds * threads * 300))); fi
    # The peer takes reserved pages where there are enough; for transparent ones it does not ask.
    if [ "$reserved" -ge 1280 ]; then flags+=(--largePages); fi
    said=$("$peer" "${flags[@]}")
    line=$("$ours" hash --mode "$mode" --threads "$threads" --seconds "$seconds")
    python3 - "$mode" "$said" "$line" <<'EOF'
import json, re, sys

mode, said, ours = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
rate = re.search(r"Performance: ([0-9.]+) (hashes per second|ms per hash)", said)
if rate is None:
    sys.exit(f"bench: the library's benchmark says no rate:\n{said}")
theirs = float(rate[1]) if rate[2].startswith("hashes") else 1000 / float(rate[1])
ready = re.search(r"Memory initialized in ([0-9.]+) s", said)
print(f"{mode}: ours {ours['hashrate_hs']:.1f} H/s, ready after {ours['ready_s']:.1f} s; the library's benchmark {theirs:.1f} H/s, "
      f"ready after {ready[1] if ready else '?'} s; ratio {ours['hashrate_hs'] / theirs:.3f} (goal 1.02)")
print(f"{mode}: our memory is {ours['memory']}")
EOF
done
