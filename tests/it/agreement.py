"""Asks five questions three times: over HTTP, of DuckDB and of Polars, which read the Delta tables as they are, and compares every value.

usage: agreement.py URL TABLES   (started by the test of the same name; needs the packages of deploy/requirements-test.txt)
"""
import datetime, decimal, json, math, pathlib, sys, time, urllib.request

import duckdb
import polars as pl
from deltalake import DeltaTable

URL, TABLES = sys.argv[1], pathlib.Path(sys.argv[2])
STREAMS = {"shares": ["hashrate_rollups"], "energy": ["energy_rollups_v2"], "sensors": ["sensors_rollups"], "blocks": [], "hashrate": []}


def ours(text):
    body = json.dumps({"sql": text, "format": "ndjson"}).encode()
    request = urllib.request.Request(f"{URL}/api/v1/sql", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        through = dict(part.split("=") for part in answer.headers["headframe-complete-through"].replace(" ", "").split(","))
        assert answer.headers["headframe-complete"] == "true", answer.headers.items()
        return [list(json.loads(line).values()) for line in answer.read().splitlines()], {name: int(seq) for name, seq in through.items()}


def until_stored():
    """Waits until raw tables and rollups are complete through the last row: what other readers see has no live tail."""
    deadline = time.monotonic() + 60
    for stream, rollups in STREAMS.items():
        through = ours(f"SELECT count(*) FROM {stream}")[1][stream]
        for table in [stream, *rollups]:
            while (DeltaTable(TABLES / table).transaction_version(f"headframe/{table}/offset") or 0) < through:
                assert time.monotonic() < deadline, f"{table} is not complete through {through}"


def plain(value):
    """One spelling for what the readers spell differently; numbers and times stay exact."""
    if isinstance(value, str):
        try:
            return decimal.Decimal(value)
        except decimal.InvalidOperation:
            pass
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, datetime.datetime):
        return (value.replace(tzinfo=None) if value.tzinfo is None else value.astimezone(datetime.timezone.utc).replace(tzinfo=None)).isoformat()
    if isinstance(value, int) and not isinstance(value, bool):
        return decimal.Decimal(value)
    return value


def same(left, right):
    if isinstance(left, float) or isinstance(right, float):
        return left is not None and right is not None and math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return left == right


def files(table):
    return f"read_parquet({DeltaTable(TABLES / table).file_uris()!r}, hive_partitioning = true)"


def duck(text):
    # The Delta extension is a download; the list of live files is what it would read from the log.
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return [list(row.values()) for row in connection.sql(text).to_arrow_table().to_pylist()]


def scan(table):
    return pl.scan_delta(str(TABLES / table))


def rows(frame):
    return [list(row) for row in frame.collect().iter_rows()]


NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)
c = pl.col

QUESTIONS = {
    "accepted work of each worker": (
        "SELECT worker, count(*) AS n, CAST(sum(CAST(difficulty AS DECIMAL(38,0))) AS VARCHAR) AS work, max(height) AS height "
        "FROM shares WHERE outcome = 'accepted' GROUP BY worker ORDER BY worker",
        lambda: duck(f"SELECT worker, count(*), sum(difficulty)::VARCHAR, max(height) FROM {files('shares')} "
                     "WHERE reject_reason IS NULL AND outcome = 'accepted' GROUP BY worker ORDER BY worker"),
        lambda: rows(scan("shares").filter(c("reject_reason").is_null(), c("outcome") == "accepted").group_by("worker").agg(
            pl.len(), c("difficulty").cast(pl.Decimal(38, 0)).sum(), c("height").max()).sort("worker")),
    ),
    "refused rows and why": (
        "SELECT reason, count(*) AS n, min(seq) AS first FROM dead_letters WHERE stream = 'shares' GROUP BY reason ORDER BY reason",
        lambda: duck(f"SELECT reject_reason, count(*), min(seq) FROM {files('shares')} WHERE reject_reason IS NOT NULL GROUP BY 1 ORDER BY 1"),
        lambda: rows(scan("shares").filter(c("reject_reason").is_not_null()).group_by("reject_reason").agg(pl.len(), c("seq").min())
                     .sort("reject_reason")),
    ),
    "hashrate by minute and worker": (
        "SELECT window_start, miner, worker, accepted_shares, CAST(accepted_difficulty AS VARCHAR) AS work, late_shares FROM hashrate_1m "
        "ORDER BY window_start, miner, worker",
        lambda: duck(f"SELECT bin, miner, worker, sum(accepted_shares), sum(accepted_difficulty)::VARCHAR, sum(late_shares) "
                     f"FROM {files('hashrate_rollups')} WHERE tier = '1m' GROUP BY bin, pool, miner, worker ORDER BY bin, miner, worker"),
        lambda: rows(scan("hashrate_rollups").filter(c("tier") == "1m").group_by("bin", "pool", "miner", "worker").agg(
            c("accepted_shares").sum(), c("accepted_difficulty").sum(), c("late_shares").sum())
            .select("bin", "miner", "worker", "accepted_shares", "accepted_difficulty", "late_shares").sort("bin", "miner", "worker")),
    ),
    "energy by hour and meter": (
        "SELECT window_start, meter, samples, energy_wh FROM energy_1h ORDER BY window_start, meter",
        lambda: duck(f"SELECT bin, meter, sum(samples), sum(energy_uwh)::DOUBLE / 1000000 FROM {files('energy_rollups_v2')} WHERE tier = '1h' "
                     "GROUP BY bin, meter HAVING sum(samples) > 0 OR sum(covered_us) <> 0 ORDER BY bin, meter"),
        lambda: rows(scan("energy_rollups_v2").filter(c("tier") == "1h").group_by("bin", "meter").agg(
            c("samples").sum(), c("energy_uwh").sum(), c("covered_us").sum()).filter((c("samples") > 0) | (c("covered_us") != 0))
            .drop("covered_us").with_columns(c("energy_uwh").cast(pl.Float64) / 1_000_000).sort("bin", "meter")),
    ),
    "readings of an afternoon": (
        "SELECT sensor, quantity, count(*) AS n, min(value) AS low, max(value) AS high, avg(value) AS mean FROM sensors "
        "WHERE event_time >= TIMESTAMP '2026-03-01T12:00:00Z' GROUP BY sensor, quantity ORDER BY sensor, quantity",
        lambda: duck(f"SELECT sensor, quantity, count(*), min(value), max(value), avg(value) FROM {files('sensors')} WHERE reject_reason IS NULL "
                     "AND event_time >= TIMESTAMPTZ '2026-03-01 12:00:00+00' GROUP BY sensor, quantity ORDER BY sensor, quantity"),
        lambda: rows(scan("sensors").filter(c("reject_reason").is_null(), c("event_time") >= NOON).group_by("sensor", "quantity").agg(
            pl.len(), c("value").min().alias("low"), c("value").max().alias("high"), c("value").mean().alias("mean"))
            .sort("sensor", "quantity")),
    ),
}


def main():
    until_stored()
    for table in [*STREAMS, *(rollup for rollups in STREAMS.values() for rollup in rollups)]:
        protocol = DeltaTable(TABLES / table).protocol()
        assert protocol.min_reader_version == 1 and not protocol.reader_features, (table, protocol)
    for question, (text, ask_duckdb, ask_polars) in QUESTIONS.items():
        want = [[plain(value) for value in row] for row in ours(text)[0]]
        assert want, f"{question}: no rows"
        for peer, ask in (("DuckDB", ask_duckdb), ("Polars", ask_polars)):
            got = [[plain(value) for value in row] for row in ask()]
            assert len(got) == len(want), f"{question}: {len(want)} rows here, {len(got)} from {peer}"
            for mine, theirs in zip(want, got):
                assert all(map(same, mine, theirs)), f"{question}: here {mine}, {peer} {theirs}"
        print(f"{question}: {len(want)} rows agree")


main()
