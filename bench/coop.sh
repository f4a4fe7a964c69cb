#!/usr/bin/env bash
# A CoopMine coordinator with 1,000 connected workers: how fast a new job is at each of them, its memory, and how fast it verifies shares. Part
# of `make bench`, also alone; about a minute.
#
# usage: bench/coop.sh [--workers N] [--jobs N] [--shares N] [--threads N]
# The coordinator is target/release/coopmine or $COOPMINE, the load generator target/release/headframe-load or $HEADFRAME_LOAD. The report is
# printed and kept in target/coop-report.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
workers=1000 jobs=20 shares=600 threads=$(nproc)
while [ $# -gt 0 ]; do
    case $1 in
    --workers) workers=$2 ;;
    --jobs) jobs=$2 ;;
    --shares) shares=$2 ;;
    --threads) threads=$2 ;;
    *) sed -n '5,7s/^# \?//p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done
coopmine=${COOPMINE:-target/release/coopmine} load=${HEADFRAME_LOAD:-target/release/headframe-load}
for program in "$coopmine" "$load"; do
    [ -x "$program" ] || { echo "bench: $program is missing; run 'cargo build --release -p headframe-coopmine -p headframe-bench'" >&2; exit 1; }
done
mkdir -p target
ulimit -n "$(ulimit -Hn)"
folder=$(mktemp -d)
coordinator=
finish() {
    if [ -n "$coordinator" ]; then kill "$coordinator" 2>/dev/null || true; wait "$coordinator" 2>/dev/null || true; fi
    rm -rf "$folder"
}
trap finish EXIT
read -r pool grpc pages < <(python3 -c 'import socket
held = [socket.socket() for _ in range(3)]
for one in held: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))')
cat > "$folder/coordinator.toml" <<EOF
check_threads = $threads
[pool]
address = "127.0.0.1:$pool"
wallet = "load"
[grpc]
listen = "127.0.0.1:$grpc"
[dashboard]
listen = "127.0.0.1:$pages"
[facts]
folder = "$folder/facts"
EOF
"$coopmine" coordinator --config "$folder/coordinator.toml" > "$folder/coordinator.log" 2>&1 &
coordinator=$!
"$load" coop --coordinator "127.0.0.1:$grpc" --pool-listen "127.0.0.1:$pool" --workers "$workers" --jobs "$jobs" --shares "$shares" \
    --threads "$threads" --pid "$coordinator" > "$folder/report.json" || { tail -5 "$folder/coordinator.log" >&2; exit 1; }
python3 - "$folder/report.json" <<'EOF' | tee target/coop-report.txt
import json, sys

report = json.load(open(sys.argv[1]))
fan_out, verified, memory = report["fan_out"], report["verified"], report["coordinator"]
each, last = fan_out["from_the_pool_to_each_worker_ms"], fan_out["to_the_last_worker_ms"]
print(f"{report['workers']} workers, each on a connection of its own, came in {report['came_s']:.1f} s")
if each:
    print(f"a new job, from the pool to each worker, {fan_out['jobs']} jobs: p50 {each['p50']:.1f} ms, p99 {each['p99']:.1f} ms, worst {each['max']:.1f} ms; "
          f"to the last worker p50 {last['p50']:.1f} ms")
print(f"resident memory a worker: {memory['resident_bytes_per_worker']:.0f} bytes; the coordinator in all, 256 MiB of it RandomX: "
      f"{memory['resident_bytes_idle'] / 2**20:.0f} MiB")
if verified:
    took = verified["submit_to_verdict_ms"]
    print(f"shares verified a second: {verified['verified_per_s']:.1f}, of {verified['bare_hashes_per_s']:.1f} hashes of the bare library on {verified['threads']} "
          f"threads: {verified['ratio']:.3f}")
    print(f"{verified['shares']} shares at once, until the verdict: p50 {took['p50']:.0f} ms, worst {took['max']:.0f} ms; verdicts: {verified['verdicts']}")
EOF
