#!/usr/bin/env bash
# What a worker hashes beside the RandomX library's own batch benchmark, on the same threads, light and full, in pages of four kinds: transparent
# huge ones always, where a program asks (madvise) and never, and reserved ones. Part of `make bench`, also alone.
#
# usage: bench/hashing.sh [--threads N] [--seconds N] [--modes "light full"] [--pages "always madvise never reserved"]
# The kinds of pages are set for the whole machine, as root, and put back at the end; whoever may not do that measures the machine as it is.
# The worker is target/release/coopmine or $COOPMINE. The peer is `randomx-benchmark`, which the library's sources in the crate randomx-rs build
# beside the library; it is found under target/, or is $RANDOMX_BENCHMARK. A machine that does something else meanwhile measures nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
transparent=/sys/kernel/mm/transparent_hugepage/enabled reserved=/proc/sys/vm/nr_hugepages
threads=$(nproc) seconds=20 modes="light full" kinds=
while [ $# -gt 0 ]; do
    case $1 in
    --threads) threads=$2 ;;
    --seconds) seconds=$2 ;;
    --modes) modes=$2 ;;
    --pages) kinds=$2 ;;
    *) sed -n '5,8s/^# \?//p' "$0" >&2; exit 2 ;;
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

# Dataset and cache are 1,168 pages of 2 MiB, and each thread has a scratchpad.
enough=$((1200 + 2 * threads))
may_set=false
if [ "$(id -u)" = 0 ] && [ -w "$transparent" ] && [ -w "$reserved" ]; then may_set=true; fi
if [ -z "$kinds" ]; then
    if $may_set; then kinds="always madvise never reserved"; else kinds="as-it-is"; fi
elif ! $may_set && [ "$kinds" != as-it-is ]; then
    echo "bench: only root can set the kinds of pages; without --pages the machine is measured as it is" >&2
    exit 1
fi
put_back() {
    if $may_set; then
        echo "$was_transparent" > "$transparent"
        echo "$was_reserved" > "$reserved"
    fi
}
if $may_set; then
    was_transparent=$(sed 's/.*\[\(.*\)\].*/\1/' "$transparent") was_reserved=$(cat "$reserved")
    trap put_back EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
fi

# One mode on the pages that there are; further flags are the peer's.
compare() {
    local mode=$1 said line
    shift
    # So many hashes as take about the time: a thread computes some thirty a second in light mode, some three hundred in full mode. A worker
    # computes its dataset on all cores.
    local flags=(--verify --jit --threads "$threads" --init "$(nproc)" --nonces $((seconds * threads * 30)) "$@")
    if [ "$mode" = full ]; then flags=(--mine --jit --threads "$threads" --init "$(nproc)" --nonces $((seconds * threads * 300)) "$@"); fi
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
print(f"  {mode}: ours {ours['hashrate_hs']:.1f} H/s, full speed after {ours['ready_s']:.1f} s; the library's benchmark {theirs:.1f} H/s, "
      f"its memory after {ready[1] if ready else '?'} s; ratio {ours['hashrate_hs'] / theirs:.3f} (goal 1.02)")
print(f"  {mode}: our memory is {ours['memory']}")
EOF
}

echo "threads: $threads"
for kind in $kinds; do
    flags=()
    case $kind in
    always | madvise | never)
        echo 0 > "$reserved"
        echo "$kind" > "$transparent"
        ;;
    reserved)
        # Memory in one piece is easier to find when nothing is cached.
        echo "$was_transparent" > "$transparent"
        sync
        echo 1 > /proc/sys/vm/compact_memory 2>/dev/null || true
        echo "$enough" > "$reserved"
        if [ "$(cat "$reserved")" -lt "$enough" ]; then
            echo "pages: reserved: the system has $(cat "$reserved") of the $enough wanted; not measured"
            continue
        fi
        flags=(--largePages)
        ;;
    as-it-is) if [ "$(cat "$reserved" 2>/dev/null || echo 0)" -ge "$enough" ]; then flags=(--largePages); fi ;;
    *)
        echo "bench: $kind is no kind of pages; say always, madvise, never, reserved or as-it-is" >&2
        exit 2
        ;;
    esac
    echo "pages: $kind; reserved: $(cat "$reserved" 2>/dev/null || echo unknown); transparent: $(cat "$transparent" 2>/dev/null || echo unknown)"
    # The peer asks for no transparent pages: with madvise it has none.
    for mode in $modes; do compare "$mode" "${flags[@]}"; done
done
