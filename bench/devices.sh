#!/usr/bin/env bash
# Five thousand simulated devices of one kind or several, polled every ten seconds: CPU of the poller, rows a second, and how many devices are fresh.
# The simulator runs on the same machine, so that its own work is in the way, too.
#
# usage: bench/devices.sh [devices] [seconds] ["kinds"], such as "shelly2 modbus apc_pdu raritan_pdu mqtt_tasmota"
# The binary is target/release/headframe or $HEADFRAME. The report is printed and kept in target/devices-report.txt. Exit code 1 when a
# device is not fresh at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=${HEADFRAME:-target/release/headframe}
devices=${1:-5000}
seconds=${2:-120}
read -ra kinds <<< "${3:-shelly2}"
[ -x "$binary" ] || { echo "devices: $binary is missing; run 'cargo build --release -p headframe'" >&2; exit 1; }
mkdir -p target
# A listener each, and connections.
ulimit -n "$(ulimit -Hn)"
folder=$(mktemp -d)
children=()
finish() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
{
    printf 'seed = 1\nsite = "north"\nstep_s = 10.0\ninterval_s = 10.0\n'
    for ((n = 1; n <= devices; n++)); do printf '[[devices]]\nkind = "%s"\nname = "plug-%d"\n' "${kinds[n % ${#kinds[@]}]}" "$n"; done
} > "$folder/scenario.toml"
"$binary" sim --scenario "$folder/scenario.toml" --config-file "$folder/sim.toml" 2> "$folder/sim.log" &
children+=($!)
until [ -s "$folder/sim.toml" ]; do kill -0 "${children[0]}" && sleep 0.2; done
{ printf 'data_dir = "%s/data"\n' "$folder"; cat "$folder/sim.toml"; printf '\n[query]\nlisten = "127.0.0.1:18093"\n'; } > "$folder/up.toml"
"$binary" up --config "$folder/up.toml" > /dev/null 2> "$folder/up.log" &
children+=($!)
until curl -fsS http://127.0.0.1:18093/health > /dev/null 2>&1; do kill -0 "${children[1]}" && sleep 0.2; done
cpu() { awk '{ print $14 + $15 }' "/proc/${children[1]}/stat"; }
sql() { "$binary" sql --url http://127.0.0.1:18093 --format csv "$1" | tail -n +2; }
sleep 20
before=$(cpu)
rows=$(sql 'SELECT count(*) FROM energy')
sleep "$seconds"
after=$(cpu)
more=$(sql 'SELECT count(*) FROM energy')
fresh=$(sql "SELECT count(*) FROM (SELECT source, max(event_time) AS t FROM source_health GROUP BY source) l JOIN source_health h ON h.source = l.source AND h.event_time = l.t WHERE h.state = 'fresh'")
lag=$(sql "SELECT max(unix) FROM (SELECT date_part('epoch', now() - max(event_time)) AS unix FROM energy GROUP BY meter)")
{
    echo "devices $devices (${kinds[*]}), polled every 10 s for $seconds s, all roles in one process"
    echo "rows of energy a second: $(awk -v a="$rows" -v b="$more" -v s="$seconds" 'BEGIN { printf "%.1f", (b - a) / s }')"
    echo "CPU of headframe up: $(awk -v a="$before" -v b="$after" -v s="$seconds" -v h="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f %% of one core", 100 * (b - a) / h / s }')"
    echo "age of the oldest newest reading: $lag s"
    echo "fresh devices: $fresh"
} | tee target/devices-report.txt
[ "$fresh" = "$devices" ]
