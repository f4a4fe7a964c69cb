"""ADBC's driver of PostgreSQL: it learns all types from the catalogue, and reads by COPY in binary into Arrow."""
import decimal

import adbc_driver_postgresql.dbapi
import pyarrow

from expected import *

with adbc_driver_postgresql.dbapi.connect(URL) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT producer_seq, miner, event_time, difficulty, block_hash, ARRAY[1, 2] AS list FROM shares ORDER BY producer_seq")
    table = cursor.fetch_arrow_table()
    same(table.num_rows, ROWS)
    same([str(field.type) for field in table.schema][:5], ["int64", "string", "timestamp[us, tz=UTC]", "int64", "string"])
    assert pyarrow.types.is_list(table.schema.field("list").type), table.schema
    same(table["producer_seq"].to_pylist(), list(range(ROWS)))
    same(sum(table["difficulty"].to_pylist()), SUM_OF_DIFFICULTY)
    same(table["event_time"][0].as_py(), START)
    same(table["list"][0].as_py(), [1, 2])
    cursor.execute("SELECT network_difficulty FROM shares LIMIT 1")
    same(decimal.Decimal(str(cursor.fetchone()[0])), decimal.Decimal(LARGEST))
    cursor.execute("SELECT difficulty FROM shares WHERE producer_seq = $1", (7,))
    same(cursor.fetchone(), (1_007,))
    schema = connection.adbc_get_table_schema("shares")
    same(schema.names, list(COLUMNS))
    same(str(schema.field("seq").type), "int64")
    objects = connection.adbc_get_objects(depth="all", db_schema_filter="public", table_name_filter="shares").read_all().to_pylist()
    schemas = [schema for catalog in objects for schema in catalog["catalog_db_schemas"] or [] if schema["db_schema_tables"]]
    tables = schemas[0]["db_schema_tables"]
    same([(table["table_name"], table["table_type"]) for table in tables], [("shares", "table")])
    same([column["column_name"] for column in sorted(tables[0]["table_columns"], key=lambda column: column["ordinal_position"])], list(COLUMNS))
    same(tables[0]["table_constraints"], [])
done()
