"""psycopg2: values written into the text, cursors in the server, COPY, cancel."""
import datetime
import decimal
import io
import threading

import psycopg2
import psycopg2.extras

from expected import *

connection = psycopg2.connect(URL)
connection.autocommit = True
cursor = connection.cursor()


def one(sql, parameters=None):
    cursor.execute(sql, parameters)
    return cursor.fetchone()


for value in [7, decimal.Decimal("-1.5"), "it's \\ ключ", True, None, decimal.Decimal(LARGEST), START, START.date(), datetime.timedelta(days=2, seconds=3), [1, 2], ["a,b", 'c"']]:
    same(one("SELECT %s", [value])[0], value, repr(value))
same(bytes(one("SELECT %s", [b"\x00\xff"])[0]), b"\x00\xff")
same(one("SELECT count(*), sum(difficulty)::bigint FROM shares WHERE miner IN %s", [("40", "41", "42")]), (ROWS, SUM_OF_DIFFICULTY))
same(one("SELECT count(*) FROM shares WHERE miner = ANY(%s)", [["40", "41"]]), (667,))
same([column.name for column in cursor.description], ["count"])
cursor.execute("SELECT difficulty FROM shares WHERE event_time < %s ORDER BY 1", [START + datetime.timedelta(seconds=3)])
same(cursor.fetchall(), [(1_000,), (1_001,), (1_002,)])

with psycopg2.connect(URL) as other, other.cursor(name="named") as named:
    named.itersize = 100
    named.execute("SELECT producer_seq FROM shares ORDER BY producer_seq")
    same([row[0] for row in named], list(range(ROWS)))

copied = io.StringIO()
cursor.copy_expert("COPY (SELECT producer_seq, miner FROM shares ORDER BY 1 LIMIT 2) TO STDOUT CSV HEADER", copied)
same(copied.getvalue(), "producer_seq,miner\n0,40\n1,41\n")

threading.Timer(0.3, connection.cancel).start()
fails(psycopg2.errors.QueryCanceled, lambda: one(ENDLESS), "cancel")
same(fails(psycopg2.Error, lambda: one("DELETE FROM shares")).pgcode, "42501")
same(dict(psycopg2.connect(URL, cursor_factory=psycopg2.extras.RealDictCursor).cursor().connection.info.dsn_parameters)["dbname"], DATABASE)
done()
