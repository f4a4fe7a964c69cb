"""Payouts: freezing the window of a block over millions of shares of ten thousand miners, and the same as SQL in PostgreSQL.

The time is the pipeline's own, `headframe_window_seconds`: from the snapshot of the table to the divided reward. The pipeline reads
ahead what a block on the terms of the pool's newest one would want, from its start on; the first block after a start comes as soon as
the server is ready, whether that is done or not. PostgreSQL gets the easier task:
shares of one pool as if at one network difficulty, integers instead of fixed point, an index in the order of the walk.
"""
import json, pathlib, re, time, urllib.request

from ours import Ours
from postgres import Postgres

NETWORK = 600_000_000_000
MINERS = 10_000
REPEATS = 5

WINDOW = """
WITH walked AS (
  SELECT miner, difficulty, sum(difficulty) OVER (ORDER BY seq DESC, "row" DESC) - difficulty AS before
  FROM shares WHERE outcome = 'accepted' AND (seq, "row") <= ({seq}, {row}))
SELECT miner, sum(least(difficulty, {wanted} - before)) FROM walked WHERE before < {wanted} GROUP BY miner ORDER BY miner
"""


def post(us, stream, rows):
    request = urllib.request.Request(f"{us.base}/api/v1/ingest/{stream}", data="\n".join(map(json.dumps, rows)).encode(),
                                     headers={"Content-Type": "application/x-ndjson"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def seconds(us):
    """(sum, count) of the windows frozen so far."""
    text = urllib.request.urlopen(f"{us.base}/metrics", timeout=30).read().decode()
    found = {name: float(value) for name, value in re.findall(r"^headframe_window_seconds_(sum|count) (\S+)$", text, re.M)}
    return found.get("sum", 0.0), int(found.get("count", 0))


def frozen(us, number, window_milli):
    """Finds a block over what is stored, waits until its window is frozen: (milliseconds, the frozen row)."""
    digest, now = f"{number:064x}", int(time.time() * 1e6)
    before = seconds(us)
    post(us, "shares", [{"event_time": now, "pool": "main", "miner": "4" + "0" * 94, "worker": "w", "outcome": "accepted", "difficulty": 1,
                         "network_difficulty": NETWORK, "height": 1, "block_hash": digest}])
    post(us, "blocks", [{"event_time": now, "pool": "main", "hash": digest, "height": number, "miner": "4" + "0" * 94, "worker": "w",
                         "status": "candidate", "network_difficulty": NETWORK, "reward_atomic": "600000000000", "scheme": "pplns",
                         "window_milli": window_milli, "fee_bp": 60}])
    while (after := seconds(us))[1] == before[1]:
        time.sleep(0.05)
    query = f"SELECT shares, miners, winning_seq, winning_row, edge_seq, CAST(total_weight AS VARCHAR) AS weight FROM payouts WHERE step = 'frozen' AND block_hash = '{digest}'"
    while not (rows := us.sql(query)):
        time.sleep(0.05)
    return (after[0] - before[0]) * 1e3, rows[0]


def ours(binary, folder, rows, sizes):
    """By window size: the time after a start, sorted times of later blocks, and the last frozen row; the tables stay for the peer."""
    us, found = Ours(binary, folder), {}
    try:
        us.start()
        us.load("--rows", rows, "--mode", "batches", "--workers", 5 * MINERS)
        us.wait(us.raw_rows, rows)
        us.wait(us.rolled_rows, rows)
        time.sleep(45)  # One round of maintenance, so that the table has the layout that it has most of its life.
        mean = us.sql("SELECT sum(difficulty) / count(*) AS d FROM shares WHERE outcome = 'accepted'")[0]["d"]
        number = 1
        for size in sizes:
            times, window_milli = [], max(round(size * mean / NETWORK * 1_000), 1)
            frozen(us, number, window_milli)  # The pool's newest block before the start.
            us.stop()
            us.start()
            for _ in range(1 + REPEATS):
                number += 1
                took, row = frozen(us, number, window_milli)
                times.append(took)
            number += 1
            found[size] = times[0], sorted(times[1:]), row
        us.stop()
        return found
    finally:
        us.end()


def peer(folder, tables, row, repeats=3):
    """The same window in PostgreSQL, which gets the rows from where it begins: (sorted milliseconds, miners)."""
    import duckdb
    from deltalake import DeltaTable
    server = Postgres(folder)
    try:
        files, path = DeltaTable(str(tables / "shares")).file_uris(), pathlib.Path(folder).parent / "shares.csv"
        duckdb.sql(f"""COPY (SELECT seq, "row", miner, outcome, difficulty FROM read_parquet({files!r}, union_by_name = true)
                       WHERE seq > {row['edge_seq'] - 100}) TO '{path}' (HEADER false)""")
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute('CREATE UNLOGGED TABLE shares (seq bigint, "row" integer, miner text, outcome text, difficulty bigint)')
            with open(path) as lines:
                cursor.copy_expert("COPY shares FROM STDIN (FORMAT csv)", lines)
            cursor.execute('CREATE INDEX ON shares (seq DESC, "row" DESC) INCLUDE (miner, outcome, difficulty)')
        path.unlink()
        # A `with` would open a transaction, in which there is no VACUUM.
        connection = server.connect()
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE shares")
        connection.close()
        wanted = int(row["weight"]) * NETWORK // 2**64
        text, times, miners = WINDOW.format(seq=row["winning_seq"], row=row["winning_row"], wanted=wanted), [], 0
        with server.connect() as connection, connection.cursor() as cursor:
            for _ in range(repeats):
                began = time.monotonic()
                cursor.execute(text)
                miners = len(cursor.fetchall())
                times.append((time.monotonic() - began) * 1e3)
        return sorted(times), miners
    finally:
        server.end()
