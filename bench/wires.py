"""A million rows out of every door, beside PostgreSQL and DuckDB with the same rows.

usage: wires.py BINARY [--rows N] [--repeats N]      (started by bench/wires.sh)
       wires.py read DOOR ADDRESS                    (one reader, in a process of its own)

A reader prints the seconds that it took from the question to the last row, and the rows. A door is one function of `DOORS`.
"""
import argparse, importlib, json, os, pathlib, statistics, subprocess, sys, tempfile, time, urllib.request

COLUMNS = 'seq, "row", producer, producer_seq, ingest_time, event_time, pool, miner, worker, outcome, difficulty, network_difficulty, height'
QUESTION = f"SELECT {COLUMNS} FROM shares"
HERE = pathlib.Path(__file__).parent
CLIENTS, READERS = (pathlib.Path(f".parts/{venv}/bin/python") for venv in ("clients", "venv"))


def psycopg_values(address):
    """psycopg 3 in binary, each value a Python value: what a notebook does."""
    import psycopg
    with psycopg.connect(address, autocommit=True) as connection:
        return len(connection.cursor(binary=True).execute(QUESTION).fetchall())


def psycopg_rows(address):
    """psycopg 3 in binary, row by row, not one value taken apart: what the server and the wire can do."""
    import psycopg
    from psycopg import pq
    with psycopg.connect(address, autocommit=True) as connection:
        wire, rows = connection.pgconn, 0
        connection.pgconn.nonblocking = 0
        wire.send_query_params(QUESTION.encode(), None, result_format=pq.Format.BINARY)
        wire.set_chunked_rows_mode(10_000) if pq.version() >= 170000 else wire.set_single_row_mode()
        while result := wire.get_result():
            if result.status == pq.ExecStatus.FATAL_ERROR:
                sys.exit(result.error_message.decode())
            rows += result.ntuples
        return rows


def psycopg_copy(address):
    """COPY in binary, as bytes."""
    import psycopg
    with psycopg.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY ({QUESTION}) TO STDOUT (FORMAT binary)") as copy:
            for _ in copy:
                pass
        return cursor.rowcount


def flight_arrow(address):
    """ADBC's driver for Flight SQL, as record batches."""
    from adbc_driver_flightsql import dbapi
    with dbapi.connect(address.replace("http", "grpc"), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(QUESTION)
        return sum(batch.num_rows for batch in cursor.fetch_record_batch())


def http(address, form):
    body = json.dumps({"sql": QUESTION, "format": form}).encode()
    request = urllib.request.Request(f"{address}/api/v1/sql", data=body, headers={"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=600)


def http_arrow(address):
    import pyarrow
    with http(address, "arrow") as answer, pyarrow.ipc.open_stream(answer) as stream:
        return sum(batch.num_rows for batch in stream)


def http_ndjson(address):
    rows = 0
    with http(address, "ndjson") as answer:
        while part := answer.read(1 << 20):
            rows += part.count(b"\n")
    return rows


def duckdb_arrow(address):
    """DuckDB in this very process, over the files of the table: no wire at all."""
    import duckdb
    from deltalake import DeltaTable
    files = DeltaTable(address).file_uris()
    reader = duckdb.sql(f"SELECT {COLUMNS} FROM read_parquet({files!r})").to_arrow_reader(65_536)
    return sum(batch.num_rows for batch in reader)


DOORS = {door.__name__: door for door in (psycopg_values, psycopg_rows, psycopg_copy, flight_arrow, http_arrow, http_ndjson, duckdb_arrow)}


# What a door's clients are, loaded before the clock starts.
MODULES = {"psycopg": ("psycopg",), "flight": ("adbc_driver_flightsql.dbapi", "pyarrow"), "http": ("pyarrow", "pyarrow.ipc"), "duckdb": ("duckdb", "deltalake")}


def read(door, address):
    for module in MODULES[door.split("_")[0]]:
        importlib.import_module(module)
    began = time.monotonic()
    rows = DOORS[door](address)
    print(json.dumps({"seconds": time.monotonic() - began, "rows": rows}))


def rows_per_s(python, door, address, rows, repeats):
    """The middle of several runs, after one that warms up."""
    taken = []
    for _ in range(repeats + 1):
        done = subprocess.run([python, "-B", __file__, "read", door, address], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"bench: {door} of {address}: {done.stdout}{done.stderr}")
        answer = json.loads(done.stdout)
        if answer["rows"] != rows:
            sys.exit(f"bench: {door} of {address} gave {answer['rows']} rows, not {rows}")
        taken.append(answer["seconds"])
    return rows / statistics.median(taken[1:])


def stored_rows(table):
    """Rows in the files of a table: SQL sees newer ones, other programs do not."""
    from deltalake import DeltaTable
    return sum(DeltaTable(str(table)).get_add_actions(flatten=True).column("num_records").to_pylist())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--repeats", type=int, default=5)
    given = arguments.parse_args()
    sys.path.insert(0, str(HERE))
    from ours import Ours, free_port
    from postgres import SCHEMA, Postgres, chunks_of
    import io
    folder = pathlib.Path(tempfile.mkdtemp(prefix="headframe-wires-", dir=os.environ.get("TMPDIR", "/tmp")))
    folder.chmod(0o755)
    us, rows, port = Ours(given.binary, folder / "ours"), given.rows, free_port()
    us.config.write_text(us.config.read_text() + f'[postgres]\nlisten = "127.0.0.1:{port}"\n')
    peer = None
    try:
        us.start()
        us.load("--rows", rows, "--mode", "batches")
        us.wait(us.raw_rows, rows)
        us.wait(us.rolled_rows, rows)
        table = folder / "ours" / "tables" / "shares"
        us.wait(lambda: stored_rows(table), rows)
        peer = Postgres(folder / "postgres")
        with peer.connect() as connection, connection.cursor() as cursor:
            cursor.execute(SCHEMA)
            for chunk, _ in chunks_of(table, rows):
                cursor.copy_expert("COPY shares FROM STDIN (FORMAT csv)", io.StringIO(chunk))
        connection = peer.connect()
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE shares")
        connection.close()
        wire, theirs = f"postgresql://reader@127.0.0.1:{port}/headframe", f"postgresql://postgres@127.0.0.1:{peer.port}/postgres"
        peers = {}  # Rows a second of PostgreSQL over its own wire.
        print(f"{rows:,} rows of 13 columns, the middle of {given.repeats} runs, rows/s")
        for door, what in [("psycopg_rows", "PostgreSQL wire, binary rows"), ("psycopg_copy", "PostgreSQL wire, COPY in binary"),
                           ("psycopg_values", "PostgreSQL wire, as Python values")]:
            mine, other = (rows_per_s(CLIENTS, door, address, rows, given.repeats) for address in (wire, theirs))
            told = f"goal >= 1 x: {'met' if mine >= other else 'MISSED'}" if door == "psycopg_rows" else ""
            print(f"  {what:<40}{mine:>12,.0f}   PostgreSQL 15 {other:>12,.0f}   {mine / other:.2f} x   {told}", flush=True)
            peers[door] = other
        flight = rows_per_s(CLIENTS, "flight_arrow", us.base, rows, given.repeats)
        best = peers["psycopg_rows"]
        goal = "met" if flight >= 5 * best else "MISSED"
        print(f"  {'Flight SQL, Arrow (ADBC)':<40}{flight:>12,.0f}   PostgreSQL 15 {best:>12,.0f}   {flight / best:.2f} x   goal >= 5 x: {goal}", flush=True)
        for door, what in [("http_arrow", "HTTP, Arrow"), ("http_ndjson", "HTTP, NDJSON")]:
            print(f"  {what:<40}{rows_per_s(READERS, door, us.base, rows, given.repeats):>12,.0f}", flush=True)
        print(f"  {'DuckDB in process, over our files':<40}{rows_per_s(READERS, 'duckdb_arrow', str(table), rows, given.repeats):>12,.0f}", flush=True)
    finally:
        us.end()
        if peer:
            peer.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read(*sys.argv[2:])
    else:
        main()
