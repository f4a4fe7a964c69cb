"""pg8000: a driver without C, which sends its parameters as text."""
import datetime
import decimal

import pg8000.dbapi
import pg8000.native

from expected import *

connection = pg8000.native.Connection(USER, host=HOST, port=PORT, database=DATABASE)
for kind, value in [("int8", 7), ("float8", -1.5), ("text", "it's ключ"), ("bool", True), ("numeric", decimal.Decimal("12.50")), ("timestamptz", START),
                    ("date", START.date()), ("bytea", b"\x00\xff"), ("int8[]", [1, None, 2]), ("text[]", ["a,b", 'c"'])]:
    same(connection.run(f"SELECT CAST(:value AS {kind})", value=value), [[value]], kind)
same(connection.run("SELECT count(*), CAST(sum(difficulty) AS bigint) FROM shares WHERE event_time >= :since", since=START), [[ROWS, SUM_OF_DIFFICULTY]])
same(connection.run("SELECT network_difficulty FROM shares LIMIT 1"), [[decimal.Decimal(LARGEST)]])
same([column["name"] for column in connection.columns], ["network_difficulty"])
prepared = connection.prepare("SELECT miner FROM shares WHERE producer_seq = :n")
same([prepared.run(n=n)[0][0] for n in range(4)], ["40", "41", "42", "40"])
prepared.close()
same(fails(pg8000.native.DatabaseError, lambda: connection.run("SELECT 1 FROM nothing")).args[0]["C"], "42P01")
connection.close()

connection = pg8000.dbapi.connect(USER, host=HOST, port=PORT, database=DATABASE)
cursor = connection.cursor()
cursor.execute("SELECT producer_seq, miner FROM shares WHERE producer_seq < %s ORDER BY 1", (2,))
same([tuple(row) for row in cursor.fetchall()], [(0, "40"), (1, "41")])
connection.rollback()
done()
