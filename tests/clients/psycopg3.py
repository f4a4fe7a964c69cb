"""psycopg 3: parameters, binary, prepared statements, arrays, cursors, COPY, cancel, errors."""
import datetime
import decimal
import threading
import uuid

import psycopg
from psycopg.rows import dict_row

from expected import *

connection = psycopg.connect(URL, autocommit=True)
one = lambda sql, parameters=None, **how: connection.execute(sql, parameters, **how).fetchone()

# Values of every type go there and back, in text and in binary.
VALUES = [
    True, 7, -(2**63), 1.5, float("inf"), "text 'with' \"quotes\" and ключ 🦀", b"\x00\xff", decimal.Decimal(LARGEST), decimal.Decimal("-0.50"),
    datetime.date(2026, 3, 1), datetime.time(11, 0, 0, 5), START.replace(tzinfo=None), START, datetime.timedelta(days=3, seconds=5),
    [1, None, 3], [1.5, -2.0], [True, False],
]
for value in VALUES:
    for binary in (False, True):
        placeholder = "%b" if binary else "%t"
        got = connection.cursor(binary=binary).execute(f"SELECT {placeholder} AS value", [value]).fetchone()[0]
        same(got, value, f"{value!r} in {'binary' if binary else 'text'}")
texts = ["a,b", 'c"d', "", None, "NULL", "{}", "back\\slash"]
same(one("SELECT %s::text[]", [texts]), (texts,))
same(one("SELECT %s::text[]", [texts], binary=True), (texts,))
same(one("SELECT %s::text", [uuid.UUID(int=7)])[0], str(uuid.UUID(int=7)))
same(one("SELECT NULL, %s::int8", [None]), (None, None))

# The rows of the table.
same(one("SELECT count(*), sum(difficulty)::bigint FROM shares"), (ROWS, SUM_OF_DIFFICULTY))
row = one("SELECT * FROM shares WHERE producer_seq = %s", [7], binary=True)
same(row[:9], (START + datetime.timedelta(seconds=7), "main", "41", "rig-0", "accepted", 1_007, decimal.Decimal(LARGEST), 3_000_007, None))
same(one("SELECT count(*) FROM shares WHERE miner = ANY(%s) AND event_time >= %s", [["40", "41"], START]), (667,))
same(one("SELECT count(*) FROM shares WHERE event_time BETWEEN %s AND %s", [START, START + datetime.timedelta(seconds=9)]), (10,))
same(one("SELECT array_agg(producer_seq ORDER BY producer_seq) FROM shares WHERE producer_seq < 3")[0], [0, 1, 2])

# A statement that is prepared sees rows with other parameters.
for n in range(8):
    got = one("SELECT difficulty FROM shares WHERE producer_seq = %s", [n], prepare=True)
    same(got, (1_000 + n,))

# Names of columns are PostgreSQL's, and two may be the same.
names = lambda sql: [column.name for column in connection.execute(sql).description]
same(names("SELECT 1, count(*), max(seq) + 1, lower(pool), seq::text, now() FROM shares GROUP BY pool, seq LIMIT 1"),
     ["?column?", "count", "?column?", "lower", "seq", "now"])
same(names("SELECT seq, seq, 1, 1 FROM shares"), ["seq", "seq", "?column?", "?column?"])
same(connection.cursor(row_factory=dict_row).execute("SELECT count(*) FROM shares").fetchone(), {"count": ROWS})
same(one("SELECT now()")[0].tzinfo is not None, True, "now() has a zone")

# Cursors in the server, streams, pipelines.
with connection.transaction(), connection.cursor("c") as cursor:
    cursor.itersize = 100
    cursor.execute("SELECT producer_seq FROM shares ORDER BY producer_seq")
    same([row[0] for row in cursor], list(range(ROWS)))
with psycopg.connect(URL) as other:
    same(sum(row[0] for row in other.cursor().stream("SELECT difficulty FROM shares")), SUM_OF_DIFFICULTY)
with connection.pipeline():
    answers = [connection.execute("SELECT %s::int8 + 1", [n]) for n in range(50)]
same([answer.fetchone()[0] for answer in answers], list(range(1, 51)))

# COPY in text, and in binary with types.
cursor = connection.cursor()
with cursor.copy("COPY (SELECT producer_seq, miner FROM shares ORDER BY producer_seq LIMIT 3) TO STDOUT") as copy:
    same(b"".join(bytes(part) for part in copy), b"0\t40\n1\t41\n2\t42\n")
with cursor.copy("COPY (SELECT producer_seq, miner, network_difficulty, event_time FROM shares ORDER BY producer_seq) TO STDOUT (FORMAT binary)") as copy:
    copy.set_types(["int8", "text", "numeric", "timestamptz"])
    rows = list(copy.rows())
same(len(rows), ROWS)
same(rows[999], (999, "40", decimal.Decimal(LARGEST), START + datetime.timedelta(seconds=999)))

# Errors have PostgreSQL's classes, and a transaction that failed is rolled back to its savepoint.
fails(psycopg.errors.UndefinedTable, lambda: one("SELECT 1 FROM nothing"))
fails(psycopg.errors.UndefinedColumn, lambda: one("SELECT nothing FROM shares"))
fails(psycopg.errors.InsufficientPrivilege, lambda: one("DELETE FROM shares"))
fails(psycopg.errors.DivisionByZero, lambda: one("SELECT 1 / 0"))
with connection.transaction():
    try:
        with connection.transaction():
            one("SELECT nothing FROM shares")
    except psycopg.errors.UndefinedColumn:
        pass
    same(one("SELECT 1"), (1,))

# A cancel ends the statement, and so does a time limit; the connection goes on.
timer = threading.Timer(0.3, connection.cancel_safe)
timer.start()
fails(psycopg.errors.QueryCanceled, lambda: one(ENDLESS), "cancel")
timer.join()
connection.execute("SET statement_timeout = 200")
fails(psycopg.errors.QueryCanceled, lambda: one(ENDLESS), "statement_timeout")
connection.execute("RESET statement_timeout")

# Types of the catalogue.
same(psycopg.types.TypeInfo.fetch(connection, "int8").oid, 20)
same(psycopg.types.TypeInfo.fetch(connection, "text").array_oid, 1009)
same(psycopg.types.TypeInfo.fetch(connection, "hstore"), None)
done()
