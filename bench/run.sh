#!/usr/bin/env bash
# Our figures beside our peers', from one run on this machine. `make bench` builds what it needs and calls it.
#
# usage: bench/run.sh [--rows N] [--payout-rows N] [--only ours,readers,postgres,pathway,payouts,stratum,hashing,coop,live,wires,devices,energy]
# Without --only all of that, in this order. The first five are one report, kept in target/bench-report.txt; each of the others is a script of its
# own beside this one. What fails or misses its goal does not keep the rest from running, and is named at the end; the exit code is then 1.
# The binary is target/release/headframe or $HEADFRAME, the load generator headframe-load beside it or $HEADFRAME_LOAD.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tables=(ours readers postgres pathway payouts) scripts=(stratum hashing coop live wires devices energy)
only= options=()
while [ $# -gt 0 ]; do
    case $1 in
    --only) only=${2:?--only names what is to be measured}; shift 2 ;;
    --only=*) only=${1#--only=}; shift ;;
    *) options+=("$1"); shift ;;
    esac
done
all=" ${tables[*]} ${scripts[*]} "
for part in ${only//,/ }; do
    [[ $all == *" $part "* ]] || { echo "bench: --only $part: there is only$all" >&2; exit 2; }
done
wanted() { [ -z "$only" ] || [[ ",$only," == *",$1,"* ]]; }

binary=${HEADFRAME:-target/release/headframe}
[ -x "$binary" ] || { echo "bench: $binary is missing; run 'make bench'" >&2; exit 1; }
[ -x .parts/venv/bin/python ] || { echo "bench: .parts/venv is missing; run 'make bench'" >&2; exit 1; }
mkdir -p target
missed=() of_tables=()
for part in "${tables[@]}"; do if wanted "$part"; then of_tables+=("$part"); fi; done
if [ ${#of_tables[@]} -gt 0 ]; then
    list=$(IFS=,; echo "${of_tables[*]}")
    env PYTHONDONTWRITEBYTECODE=1 .parts/venv/bin/python bench/compare.py "$binary" --only "$list" "${options[@]}" | tee target/bench-report.txt || missed+=("$list")
fi
for part in "${scripts[@]}"; do
    wanted "$part" || continue
    echo "==> bench/$part.sh"
    case $part in
    hashing) bench/hashing.sh | tee target/hashing-report.txt || missed+=("$part") ;;
    *) "bench/$part.sh" || missed+=("$part") ;;
    esac
done
if [ ${#missed[@]} -gt 0 ]; then
    echo "bench: failed, or missed a goal: ${missed[*]}" >&2
    exit 1
fi
