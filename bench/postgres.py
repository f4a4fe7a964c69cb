"""PostgreSQL on the same rows: COPY into a raw table that drops repeats, and the same rollups by upsert, one transaction a chunk."""
import io, os, pathlib, shutil, subprocess, tempfile, threading, time

from ours import free_port

BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
CHUNK = 16_384
TIERS = [("10s", "10 seconds"), ("1m", "1 minute"), ("1h", "1 hour"), ("1d", "1 day")]

SCHEMA = """
CREATE TABLE shares (
  seq bigint, row integer, producer text, producer_seq bigint, ingest_time timestamptz, event_time timestamptz, pool text, miner text,
  worker text, outcome text, difficulty bigint, network_difficulty numeric(38,0), height bigint, PRIMARY KEY (seq, row));
CREATE TABLE hashrate_rollups (
  tier text, bin timestamptz, pool text, miner text, worker text, accepted_shares bigint, stale_shares bigint, rejected_shares bigint,
  accepted_difficulty numeric(38,0), rejected_difficulty numeric(38,0), late_shares bigint, PRIMARY KEY (tier, bin, pool, miner, worker));
"""

ROLLUP = """
INSERT INTO hashrate_rollups
SELECT '{tier}', date_bin('{width}', event_time, '1970-01-01T00:00:00Z'), pool, miner, worker,
  count(*) FILTER (WHERE outcome = 'accepted'), count(*) FILTER (WHERE outcome = 'stale'),
  count(*) FILTER (WHERE outcome NOT IN ('accepted', 'stale')),
  coalesce(sum(difficulty) FILTER (WHERE outcome = 'accepted'), 0), coalesce(sum(difficulty) FILTER (WHERE outcome <> 'accepted'), 0),
  count(*) FILTER (WHERE ingest_time > event_time + interval '10 seconds')
FROM chunk GROUP BY 2, 3, 4, 5 ORDER BY 2, 3, 4, 5
ON CONFLICT (tier, bin, pool, miner, worker) DO UPDATE SET
  accepted_shares = hashrate_rollups.accepted_shares + excluded.accepted_shares,
  stale_shares = hashrate_rollups.stale_shares + excluded.stale_shares,
  rejected_shares = hashrate_rollups.rejected_shares + excluded.rejected_shares,
  accepted_difficulty = hashrate_rollups.accepted_difficulty + excluded.accepted_difficulty,
  rejected_difficulty = hashrate_rollups.rejected_difficulty + excluded.rejected_difficulty,
  late_shares = hashrate_rollups.late_shares + excluded.late_shares
"""

QUERIES = {
    "1-pool-hashrate": """SELECT bin, sum(accepted_difficulty) / 60 FROM hashrate_rollups WHERE tier = '1m'
        GROUP BY bin ORDER BY bin DESC LIMIT 60""",
    "2-top-workers": """SELECT miner, worker, sum(difficulty) AS work FROM shares WHERE outcome = 'accepted'
        GROUP BY miner, worker ORDER BY work DESC, worker LIMIT 20""",
    "3-rejects": "SELECT date_trunc('hour', event_time), outcome, count(*) FROM shares GROUP BY 1, 2 ORDER BY 1, 2",
    "4-one-worker": """SELECT bin, accepted_difficulty / 10 FROM hashrate_rollups WHERE tier = '10s' AND worker = 'worker-7'
        ORDER BY bin DESC LIMIT 180""",
    "5-by-miner": "SELECT miner, count(*), sum(difficulty) FROM shares GROUP BY miner ORDER BY miner",
}


class Postgres:
    """A server of its own in a folder; it refuses to be root, so that root hands it to the user postgres."""

    def __init__(self, folder):
        self.folder, self.port = pathlib.Path(folder), free_port()
        self.folder.mkdir(parents=True)
        self.before = []
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self.before = ["runuser", "-u", "postgres", "--"]
        data = self.folder / "data"
        self.run(BIN / "initdb", "-D", data, "-U", "postgres", "--auth", "trust", "-E", "UTF8")
        options = (f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c shared_buffers=1GB -c max_wal_size=8GB "
                   "-c checkpoint_timeout=15min -c work_mem=256MB -c maintenance_work_mem=512MB")
        self.run(BIN / "pg_ctl", "-D", data, "-l", self.folder / "log", "-w", "-o", options, "start")

    def run(self, *command):
        subprocess.run([*self.before, *map(str, command)], check=True, capture_output=True, cwd=self.folder)

    def connect(self):
        import psycopg2
        return psycopg2.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres")

    def end(self):
        self.run(BIN / "pg_ctl", "-D", self.folder / "data", "-m", "fast", "stop")

    def copy(self, chunks, connections):
        """Rows a second of the best of what a careful user would do: COPY, drop repeats, upsert four tiers, commit."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS shares, hashrate_rollups; " + SCHEMA)
        work, lock, rows = iter(chunks), threading.Lock(), sum(chunk[1] for chunk in chunks)

        def one():
            connection = self.connect()
            with connection.cursor() as cursor:
                cursor.execute("CREATE TEMP TABLE chunk (LIKE shares) ON COMMIT DELETE ROWS")
                connection.commit()
                while True:
                    with lock:
                        chunk = next(work, None)
                    if chunk is None:
                        break
                    cursor.copy_expert("COPY chunk FROM STDIN (FORMAT csv)", io.StringIO(chunk[0]))
                    for tier, width in TIERS:
                        cursor.execute(ROLLUP.format(tier=tier, width=width))
                    cursor.execute("INSERT INTO shares SELECT * FROM chunk ON CONFLICT DO NOTHING")
                    connection.commit()
            connection.close()

        began = time.monotonic()
        threads = [threading.Thread(target=one) for _ in range(connections)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return rows / (time.monotonic() - began)

    def times(self, text, repeats=11):
        taken = []
        with self.connect() as connection, connection.cursor() as cursor:
            for _ in range(repeats):
                began = time.monotonic()
                cursor.execute(text)
                cursor.fetchall()
                taken.append((time.monotonic() - began) * 1e3)
        return taken[0], sorted(taken[1:])

    def bytes_a_row(self, rows):
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_total_relation_size('shares')")
            return cursor.fetchone()[0] / rows


def chunks_of(table, rows):
    """The first rows of our own Delta table, as CSV chunks of the peer's columns."""
    import duckdb
    from deltalake import DeltaTable
    files = DeltaTable(str(table)).file_uris()
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        duckdb.sql(f"""COPY (SELECT seq, "row", producer, producer_seq, ingest_time, event_time, pool, miner, worker, outcome, difficulty,
            network_difficulty, height FROM read_parquet({files!r}) ORDER BY seq, "row" LIMIT {rows}) TO '{file.name}' (HEADER false)""")
        lines = open(file.name).readlines()
    return [("".join(part), len(part)) for part in (lines[at:at + CHUNK] for at in range(0, len(lines), CHUNK))]
