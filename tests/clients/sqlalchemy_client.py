"""SQLAlchemy by three drivers: queries, reflection of tables; and pandas."""
import datetime
import decimal

import pandas
import sqlalchemy
from sqlalchemy import MetaData, Table, create_engine, func, inspect, select, text

from expected import *

for driver in ("psycopg", "psycopg2", "pg8000"):
    engine = create_engine(URL.replace("postgresql", f"postgresql+{driver}"))
    inspector = inspect(engine)
    assert engine.dialect.server_version_info >= (15,), engine.dialect.server_version_info
    same(inspector.default_schema_name, "public")
    assert {"public", "information_schema"} <= set(inspector.get_schema_names())
    tables, views = inspector.get_table_names(), inspector.get_view_names()
    assert "shares" in tables and "hashrate_1m" in views and "hashrate_1m" not in tables, (tables, views)
    same((inspector.has_table("shares"), inspector.has_table("hashrate_1m"), inspector.has_table("nothing")), (True, True, False))
    columns = inspector.get_columns("shares")
    same([column["name"] for column in columns], list(COLUMNS))
    kinds = {"timestamptz": sqlalchemy.TIMESTAMP, "text": sqlalchemy.TEXT, "int8": sqlalchemy.BIGINT, "int4": sqlalchemy.INTEGER, "numeric": sqlalchemy.NUMERIC, "bool": sqlalchemy.BOOLEAN}
    for column in columns:
        assert isinstance(column["type"], kinds[COLUMNS[column["name"]]]), column
        if column["name"] in REQUIRED:
            same(column["nullable"], False, column["name"])
    same((columns[0]["type"].timezone, columns[0]["comment"]), (True, "When the pool received the share."))
    same((columns[6]["type"].precision, columns[6]["type"].scale, columns[8]["nullable"], columns[0]["default"]), (38, 0, True, None))
    same(inspector.get_table_comment("shares")["text"].split(",")[0], "Every share a miner submitted")
    # There is no index and no key.
    same(inspector.get_pk_constraint("shares")["constrained_columns"], [])
    for get in (inspector.get_indexes, inspector.get_foreign_keys, inspector.get_unique_constraints, inspector.get_check_constraints):
        same(get("shares"), [], get.__name__)
    # What MetaData.reflect asks: all of these of many tables at once.
    same([column["name"] for column in inspector.get_multi_columns(filter_names=["shares", "blocks"])[(None, "shares")]], list(COLUMNS))

    shares = Table("shares", MetaData(), autoload_with=engine)
    same(list(shares.c.keys()), list(COLUMNS))
    with engine.connect() as connection:
        query = select(shares.c.miner, func.count(), sqlalchemy.cast(func.sum(shares.c.difficulty), sqlalchemy.BIGINT)).where(shares.c.event_time >= START).group_by(shares.c.miner)
        rows = connection.execute(query.order_by(shares.c.miner)).all()
        expected = [(f"4{m}", len(range(m, ROWS, 3)), sum(1_000 + n for n in range(m, ROWS, 3))) for m in range(3)]
        same([tuple(row) for row in rows], expected)
        same(connection.execute(select(func.count()).where(shares.c.miner.in_(["40", "41"]))).scalar(), 667)
        row = connection.execute(select(shares).where(shares.c.producer_seq == 7)).mappings().one()
        same((row["event_time"], row["network_difficulty"]), (START + datetime.timedelta(seconds=7), decimal.Decimal(LARGEST)))
        with connection.begin_nested():
            same(connection.execute(text("SELECT 1")).scalar(), 1)
        frame = pandas.read_sql("SELECT producer_seq, miner, event_time, difficulty FROM shares ORDER BY 1", connection)
        same((len(frame), int(frame["difficulty"].sum()), frame["miner"][4]), (ROWS, SUM_OF_DIFFICULTY, "41"))
        same(frame["event_time"][999].to_pydatetime().astimezone(datetime.timezone.utc), START + datetime.timedelta(seconds=999))
        pieces = list(pandas.read_sql(select(shares.c.seq), connection.execution_options(stream_results=True), chunksize=300))
        same([len(piece) for piece in pieces], [300, 300, 300, 100])
        frame = pandas.read_sql_table("shares", connection, columns=["miner", "difficulty"])
        same((len(frame), int(frame["difficulty"].sum())), (ROWS, SUM_OF_DIFFICULTY))
    metadata = MetaData()
    metadata.reflect(engine, only=["shares", "blocks"])
    same(sorted(metadata.tables), ["blocks", "shares"])
    engine.dispose()
done()
