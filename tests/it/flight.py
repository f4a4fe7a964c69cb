"""Speaks Flight SQL to a server by the ADBC driver from PyPI: flight.py PORT TOKEN."""

import sys
import threading
import time

import adbc_driver_flightsql.dbapi as flight
import pyarrow as pa
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import Error

PORT, TOKEN = sys.argv[1:]
URI = f"grpc://127.0.0.1:{PORT}"
START_US = 1_772_362_800_000_000
PRODUCER = DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + "headframe-producer"
SEQ = DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + "headframe-seq"


def connect(options=None):
    options = options or {"username": "reader", "password": TOKEN}
    return flight.connect(URI, db_kwargs=options, autocommit=True)


def ask(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetch_arrow_table()


def refused(act, *words):
    try:
        act()
    except (Error, OSError) as error:  # pyarrow has words of its own for a stream that breaks
        for word in words:
            assert word in str(error), (word, str(error))
        return str(error)
    raise AssertionError(f"{words} was not refused")


def until(what, holds):
    deadline = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def meters(first, count, power=812_000):
    rows = range(first, first + count)
    return {
        "event_time": pa.array([START_US + row for row in rows], pa.timestamp("us", "UTC")),
        "site": pa.array(["north"] * count).dictionary_encode(),
        "meter": pa.array([f"feeder-{row % 7}" for row in rows]),
        "power_w": pa.array([power] * count),
    }


def append(connection, rows, **options):
    with connection.cursor() as cursor:
        table = rows if isinstance(rows, pa.Table) else pa.table(rows)
        return cursor.adbc_ingest("energy", table, mode=options.get("mode", "append"))


def reads(connection):
    table = ask(connection, "SELECT value AS n FROM generate_series(1, 300000)")
    assert table.num_rows == 300_000 and table["n"][-1].as_py() == 300_000
    row = ask(connection, "SELECT ? + 1 AS n, ? AS t, ? AS x", (41, "矿", None))
    assert row.to_pylist() == [{"n": 42, "t": "矿", "x": None}], row
    row = ask(connection, "SELECT $1 > TIMESTAMP '2026-01-01' AS late", ("2026-02-01T00:00:00Z",))
    assert row["late"].to_pylist() == [True]
    with connection.cursor() as cursor:
        told = cursor.adbc_prepare("SELECT $1::bigint + 1 AS n")
        assert told.field(0).type == pa.int64(), told
        cursor.execute("SELECT event_time, power_w FROM energy LIMIT 0")
        assert cursor.fetch_arrow_table().num_rows == 0
    refused(lambda: ask(connection, "SELECT * FROM nowhere"), "nowhere")
    refused(lambda: ask(connection, "DELETE FROM energy"), "only reads")
    refused(lambda: ask(connection, "SELECT 1 / (value - value) FROM generate_series(1, 3)"), "zero")


def describes(connection):
    info = connection.adbc_get_info()
    assert info["vendor_name"] == "headframe", info
    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    [catalog] = objects
    assert catalog["catalog_name"] == "headframe"
    schemas = {one["db_schema_name"]: one["db_schema_tables"] for one in catalog["catalog_db_schemas"]}
    tables = {one["table_name"]: one for one in schemas["public"]}
    assert tables["shares"]["table_type"] == "TABLE" and tables["hashrate_1m"]["table_type"] == "VIEW"
    assert set(connection.adbc_get_table_types()) == {"TABLE", "VIEW"}
    for name in tables:
        told = connection.adbc_get_table_schema(name, db_schema_filter="public")
        with connection.cursor() as cursor:
            found = cursor.adbc_execute_schema(f"SELECT * FROM {name}")
            assert told == found, (name, told, found)
            cursor.execute(f"SELECT * FROM {name} LIMIT 0")
            assert cursor.fetch_arrow_table().schema == found, name


def cancels(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM generate_series(1, 100000000000)")
        reader = cursor.fetch_record_batch()
        reader.read_next_batch()
        threading.Timer(0.5, cursor.adbc_cancel).start()
        refused(lambda: [None for _ in reader], "ancel")
    until("the cancelled query has ended", lambda: running(connection) == 0)


def running(connection):
    import json
    import urllib.request

    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/api/v1/sql")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request) as answer:
        return len(json.load(answer)["running"])


def appends(connection):
    count = lambda: ask(connection, "SELECT count(*) AS n FROM energy")["n"][0].as_py()
    assert append(connection, meters(0, 1_000)) == 1_000
    until("the rows are there", lambda: count() == 1_000)

    numbered = meters(1_000, 2_000)
    numbered["producer"] = pa.array(["notebook-7"] * 2_000)
    numbered["producer_seq"] = pa.array(range(2_000))
    batches = pa.Table.from_batches(pa.table(numbered).to_batches(max_chunksize=300))
    for _ in range(3):
        assert append(connection, batches) == 2_000
    until("the rows are there once", lambda: count() == 3_000)

    credentials = {"username": "reader", "password": TOKEN}
    for _ in range(2):
        with connect({**credentials, PRODUCER: "notebook-8", SEQ: "0"}) as other:
            assert append(other, meters(3_000, 500)) == 500
    until("the rows are there once", lambda: count() == 3_500)

    large = pa.table(meters(3_500, 200_000)).combine_chunks()
    assert large.nbytes > 5 << 20
    assert append(connection, large) == 200_000
    until("a large batch is there", lambda: count() == 203_500)
    rows = ask(connection, "SELECT count(DISTINCT event_time) AS n FROM energy")
    assert rows["n"][0].as_py() == 203_500

    wrong = meters(900_000, 20)
    wrong["power_w"] = pa.array([None if row == 7 else 1 for row in range(20)])
    said = refused(lambda: append(connection, wrong), "row 8", "power_w")
    assert "none is stored" in said, said
    refused(lambda: append(connection, meters(0, 1), mode="create"), "exists")
    refused(lambda: append(connection, meters(0, 1), mode="replace"), "append")
    assert count() == 203_500


def main():
    refused(lambda: ask(connect({"username": "reader", "password": "a-wrong-password"}), "SELECT 1"))
    bearer = connect({DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {TOKEN}"})
    assert ask(bearer, "SELECT 7 AS n")["n"].to_pylist() == [7]
    bearer.close()
    with connect() as connection:
        for step in (reads, describes, cancels, appends):
            step(connection)
            print(step.__name__, flush=True)
    print("every step passed")


main()
