"""JDBC, Debian's driver, run inside of Python: values, fetch sizes, time limits, and the lists that tools ask a driver for."""
import os

import jpype

from expected import *

jpype.startJVM(classpath=[os.environ.get("POSTGRESQL_JDBC", "/usr/share/java/postgresql.jar")], convertStrings=True)
DriverManager, SQLException, Timestamp = (jpype.JClass(f"java.sql.{name}") for name in ("DriverManager", "SQLException", "Timestamp"))

connection = DriverManager.getConnection(f"jdbc:postgresql://{HOST}:{PORT}/{DATABASE}", USER, "")


def rows(results):
    """All rows as texts."""
    columns = range(1, results.getMetaData().getColumnCount() + 1)
    found = []
    while results.next():
        found.append([results.getString(column) for column in columns])
    return found


def labels(results):
    meta = results.getMetaData()
    return [meta.getColumnLabel(column) for column in range(1, meta.getColumnCount() + 1)]


statement = connection.createStatement()
same(rows(statement.executeQuery("SELECT count(*), sum(difficulty)::bigint, max(network_difficulty) FROM shares")), [[str(ROWS), str(SUM_OF_DIFFICULTY), str(LARGEST)]])
same(labels(statement.executeQuery("SELECT count(*), 1, seq FROM shares GROUP BY seq")), ["count", "?column?", "seq"])

# Often enough for the driver to prepare it by name and go over to binary.
prepared = connection.prepareStatement("SELECT difficulty, event_time, miner, network_difficulty FROM shares WHERE producer_seq = ? AND event_time >= ? AND difficulty > ?")
for n in range(12):
    prepared.setInt(1, n)
    prepared.setTimestamp(2, Timestamp(int(START.timestamp() * 1000)))
    prepared.setBigDecimal(3, jpype.java.math.BigDecimal("0.5"))
    results = prepared.executeQuery()
    assert results.next()
    same((int(results.getLong(1)), int(results.getTimestamp(2).getTime()), str(results.getString(3)), str(results.getBigDecimal(4))),
         (1_000 + n, int(START.timestamp() * 1000) + 1_000 * n, f"4{n % 3}", str(LARGEST)))
    assert not results.next()
prepared = connection.prepareStatement("SELECT count(*) FROM shares WHERE miner = ANY(?)")
prepared.setArray(1, connection.createArrayOf("text", ["40", "41"]))
same(rows(prepared.executeQuery()), [["667"]])
results = statement.executeQuery("SELECT array_agg(miner ORDER BY producer_seq) FROM shares WHERE producer_seq < 3")
assert results.next()
same([str(item) for item in results.getArray(1).getArray()], ["40", "41", "42"])

connection.setAutoCommit(False)
cursor = connection.createStatement()
cursor.setFetchSize(64)
same([int(row[0]) for row in rows(cursor.executeQuery("SELECT producer_seq FROM shares ORDER BY producer_seq"))], list(range(ROWS)))
connection.rollback()
connection.setAutoCommit(True)

# What tools ask for.
meta = connection.getMetaData()
assert int(str(meta.getDatabaseProductVersion()).split(".")[0]) >= 15
names = lambda results, column: [row[column] for row in rows(results)]
assert DATABASE in names(meta.getCatalogs(), 0)
assert "public" in names(meta.getSchemas(), 0)
same(names(meta.getTables(None, "public", "shares", None), 2), ["shares"])
same(rows(meta.getTables(None, "public", "hashrate\\_1m", ["VIEW"]))[0][2:4], ["hashrate_1m", "VIEW"])
columns = rows(meta.getColumns(None, "public", "shares", None))
same([(column[3], column[5]) for column in columns], list(COLUMNS.items()))
same(([column[17] for column in columns if column[3] == "pool"], columns[6][6], columns[0][11]), (["NO"], "38", "When the pool received the share."))
same(rows(meta.getPrimaryKeys(None, "public", "shares")), [])
same(rows(meta.getIndexInfo(None, "public", "shares", False, True)), [])
same(rows(meta.getImportedKeys(None, "public", "shares")), [])
same(rows(meta.getExportedKeys(None, "public", "shares")), [])
same(rows(meta.getCrossReference(None, "public", "shares", None, "public", "blocks")), [])
same(rows(meta.getBestRowIdentifier(None, "public", "shares", 0, True)), [])
same(rows(meta.getTablePrivileges(None, "public", "nothing")), [])
kinds = {row[0]: row[1] for row in rows(meta.getTypeInfo())}
same((kinds["int8"], kinds["text"], kinds["timestamptz"], kinds["_int8"]), ("-5", "12", "93", "2003"))
assert "lower" in names(meta.getFunctions(None, "pg_catalog", "lower"), 2)
rows(meta.getProcedures(None, None, "%"))
assert "VIEW" in names(meta.getTableTypes(), 0)
rows(meta.getUDTs(None, None, "%", None))

# A time limit and an error.
statement.setQueryTimeout(1)
try:
    statement.executeQuery(ENDLESS)
    raise SystemExit("the time limit did not cancel")
except SQLException as error:
    same(str(error.getSQLState()), "57014")
statement.setQueryTimeout(0)
try:
    statement.executeQuery("SELECT 1 FROM nothing")
    raise SystemExit("no error came")
except SQLException as error:
    same(str(error.getSQLState()), "42P01")
same(rows(statement.executeQuery("SELECT 1")), [["1"]])
connection.close()
done()
