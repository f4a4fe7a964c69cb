#!/usr/bin/env bash
# Checks every crate of the lock file: licences, sources, bans, and the advisories of RustSec where their
# database can be reached. `make lint` calls it.
#
# Without a network the advisories are checked against a database that an earlier run fetched, or not at
# all, which is said. HEADFRAME_ADVISORIES=required makes that an error, for a CI that has a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deny() { .parts/bin/cargo-deny --config deploy/deny.toml "$@"; }

# Also the crates of other systems, which no build here brings: their licences are checked as well.
cargo fetch --locked --quiet
deny --offline check --hide-inclusion-graph licenses bans sources

if timeout 120 .parts/bin/cargo-deny --config deploy/deny.toml fetch db >target/deny-fetch.log 2>&1; then
    deny check --disable-fetch --hide-inclusion-graph advisories
elif [ "${HEADFRAME_ADVISORIES:-}" = required ]; then
    tail -n 5 target/deny-fetch.log >&2
    echo "lint: the advisory database cannot be fetched, and HEADFRAME_ADVISORIES=required" >&2
    exit 1
elif compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/crates" >/dev/null; then
    echo "lint: the advisory database cannot be fetched; checking against the one fetched earlier"
    deny check --disable-fetch --hide-inclusion-graph advisories
else
    echo "lint: advisories were NOT checked: their database cannot be fetched from here (CI with a network checks them)"
fi
