"""DuckDB and Polars over our Delta tables as they are: the same five questions, in process, on a warm connection."""
import time

DUCKDB = {
    "1-pool-hashrate": """SELECT bin, sum(accepted_difficulty) / 60 FROM {rollups} WHERE tier = '1m' GROUP BY bin ORDER BY bin DESC LIMIT 60""",
    "2-top-workers": """SELECT miner, worker, sum(difficulty) AS work FROM {shares} WHERE outcome = 'accepted' AND reject_reason IS NULL
        GROUP BY miner, worker ORDER BY work DESC, worker LIMIT 20""",
    "3-rejects": """SELECT date_trunc('hour', event_time), outcome, count(*) FROM {shares} WHERE reject_reason IS NULL
        GROUP BY 1, 2 ORDER BY 1, 2""",
    "4-one-worker": """SELECT bin, sum(accepted_difficulty) / 10 FROM {rollups} WHERE tier = '10s' AND worker = 'worker-7'
        GROUP BY bin ORDER BY bin DESC LIMIT 180""",
    "5-by-miner": "SELECT miner, count(*), sum(difficulty) FROM {shares} WHERE reject_reason IS NULL GROUP BY miner ORDER BY miner",
}


def duckdb_times(tables, repeats=11):
    """(cold, sorted warm) milliseconds by query. Its Delta extension is a download, so the file list comes from the deltalake package."""
    import duckdb
    from deltalake import DeltaTable
    connection = duckdb.connect()

    def ask(text):
        lists = {name: f"read_parquet({DeltaTable(str(tables / table)).file_uris()!r}, hive_partitioning = true)"
                 for name, table in (("shares", "shares"), ("rollups", "hashrate_rollups")) if "{" + name + "}" in text}
        return connection.sql(text.format(**lists)).to_arrow_table()

    return {name: timed(lambda: ask(text), repeats) for name, text in DUCKDB.items()}


def polars_times(tables, repeats=11):
    import polars as pl
    from deltalake import DeltaTable

    def shares():
        return pl.scan_delta(str(tables / "shares")).filter(pl.col("reject_reason").is_null())

    def rollups(tier):
        return pl.scan_delta(str(tables / "hashrate_rollups")).filter(pl.col("tier") == tier)

    work, rows = pl.col("difficulty").sum().alias("work"), pl.len().alias("n")
    ask = {
        "1-pool-hashrate": lambda: rollups("1m").group_by("bin").agg(pl.col("accepted_difficulty").sum() / 60).sort("bin").tail(60),
        "2-top-workers": lambda: shares().filter(pl.col("outcome") == "accepted").group_by("miner", "worker").agg(work)
            .sort(["work", "worker"], descending=[True, False]).head(20),
        "3-rejects": lambda: shares().group_by(pl.col("event_time").dt.truncate("1h"), "outcome").agg(rows).sort("event_time", "outcome"),
        "4-one-worker": lambda: rollups("10s").filter(pl.col("worker") == "worker-7").group_by("bin")
            .agg(pl.col("accepted_difficulty").sum() / 10).sort("bin").tail(180),
        "5-by-miner": lambda: shares().group_by("miner").agg(rows, work).sort("miner"),
    }
    return {name: timed(lambda: plan().collect(), repeats) for name, plan in ask.items()}


def timed(ask, repeats):
    taken = []
    for _ in range(repeats):
        began = time.monotonic()
        ask()
        taken.append((time.monotonic() - began) * 1e3)
    return taken[0], sorted(taken[1:])
