"""asyncpg: binary throughout, arrays, types it has to look for, cursors, cancel, COPY."""
import asyncio
import datetime
import decimal
import io

import asyncpg

from expected import *


async def main():
    connection = await asyncpg.connect(URL)
    value = connection.fetchval

    # Each value has the type that the statement gives its parameter.
    for kind, sent in [
        ("int8", 2**63 - 1), ("int4", -7), ("int2", 3), ("float8", 1.5), ("float4", 0.5), ("text", "ключ 🦀"), ("bool", True), ("bytea", b"\x00\xff"),
        ("numeric", decimal.Decimal("0.50")), ("date", datetime.date(2026, 3, 1)), ("time", datetime.time(11, 0, 0, 5)),
        ("timestamp", START.replace(tzinfo=None)), ("timestamptz", START), ("interval", datetime.timedelta(days=3, seconds=5)),
        ("int8[]", [1, None, 3]), ("text[]", ["a,b", None, ""]), ("float8[]", [1.5]), ("timestamptz[]", [START]), ("bool[]", []),
    ]:
        same(await value(f"SELECT $1::{kind}", sent), sent, kind)

    row = await connection.fetchrow("SELECT * FROM shares WHERE producer_seq = $1", 7)
    same(list(row.keys()), list(COLUMNS))
    same((row["event_time"], row["miner"], row["difficulty"]), (START + datetime.timedelta(seconds=7), "41", 1_007))
    same(row["network_difficulty"], decimal.Decimal(LARGEST))
    same(await value("SELECT count(*) FROM shares WHERE miner = ANY($1::text[])", ["40", "41"]), 667)
    same(await value("SELECT count(*) FROM shares WHERE producer_seq = ANY($1)", [1, 2, 5_000]), 2)
    same(await value("SELECT array_agg(miner ORDER BY producer_seq) FROM shares WHERE producer_seq < 4"), ["40", "41", "42", "40"])
    same(await value("SELECT sum(difficulty)::bigint FROM shares"), SUM_OF_DIFFICULTY)
    same(dict(await connection.fetchrow("SELECT count(*), 1 FROM shares")), {"count": ROWS, "?column?": 1})

    # Statements of one connection, prepared and described.
    statement = await connection.prepare("SELECT difficulty, miner FROM shares WHERE producer_seq = $1")
    same([parameter.name for parameter in statement.get_parameters()], ["int8"])
    same([(column.name, column.type.name) for column in statement.get_attributes()], [("difficulty", "int8"), ("miner", "text")])
    same([(await statement.fetchrow(n))["difficulty"] for n in range(20)], [1_000 + n for n in range(20)])

    # A type it does not know is looked up in the catalogue, with the types it is made of.
    for name, element in [("oid", None), ("_int8", "int8"), ("regclass", None)]:
        found = await connection.fetchrow("SELECT t.typname, e.typname AS element FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem WHERE t.typname = $1", name)
        same((found["typname"], found["element"]), (name, element))
    await connection.set_type_codec("numeric", encoder=str, decoder=float, schema="pg_catalog", format="text")
    same(await value("SELECT 1.5::numeric(5, 1)"), 1.5)
    await connection.reset_type_codec("numeric", schema="pg_catalog")

    async with connection.transaction():
        found = [row["producer_seq"] async for row in connection.cursor("SELECT producer_seq FROM shares ORDER BY producer_seq", prefetch=64)]
        same(found, list(range(ROWS)))
        cursor = await connection.cursor("SELECT producer_seq FROM shares ORDER BY producer_seq")
        same([row[0] for row in await cursor.fetch(3)], [0, 1, 2])
        await cursor.forward(10)
        same((await cursor.fetchrow())[0], 13)

    copied = io.BytesIO()
    await connection.copy_from_query("SELECT producer_seq, miner FROM shares WHERE producer_seq < $1 ORDER BY 1", 2, output=copied, format="csv")
    same(copied.getvalue(), b"0,40\n1,41\n")

    # A time limit cancels; the connection goes on.
    try:
        await connection.fetchval(ENDLESS, timeout=0.3)
        raise SystemExit("the time limit did not cancel")
    except (asyncio.TimeoutError, TimeoutError):
        pass
    same(await value("SELECT 1"), 1)
    for sql, kind in [("SELECT 1 FROM nothing", asyncpg.UndefinedTableError), ("SELECT nothing FROM shares", asyncpg.UndefinedColumnError),
                      ("DELETE FROM shares", asyncpg.InsufficientPrivilegeError), ("SELECT 1 / 0", asyncpg.DivisionByZeroError)]:
        try:
            await connection.execute(sql)
            raise SystemExit(f"{sql}: no error came")
        except kind:
            pass
    await connection.close()

    async with asyncpg.create_pool(URL, min_size=2, max_size=4) as pool:
        counts = await asyncio.gather(*(pool.fetchval("SELECT count(*) FROM shares WHERE seq > $1", 0) for _ in range(20)))
        same(counts, [ROWS] * 20)
    done()


asyncio.run(main())
