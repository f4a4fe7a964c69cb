"""Arrow's own Flight client in C++, with the calls that the Flight SQL driver of JDBC makes, one by one, for that driver is on Maven alone.

The messages of Flight SQL are written here field by field, as protobuf has them."""
import os

import pyarrow as pa
import pyarrow.flight as flight

from expected import *

SQL = "type.googleapis.com/arrow.flight.protocol.sql."


def varint(number):
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number, value):
    """A field of bytes or text, or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def packed(name, *fields):
    """A message inside of `Any`."""
    return field(1, SQL + name) + field(2, b"".join(fields))


def unpacked(message):
    """The fields of a message by their numbers; the last one of each."""
    found, at = {}, 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        value = number()
        if key & 7 == 2:
            value, at = message[at:at + value], at + value
        found[key >> 3] = value
    return found


client = flight.connect(os.environ["HEADFRAME_URL"].replace("http", "grpc"))


def answer(*command):
    info = client.get_flight_info(flight.FlightDescriptor.for_command(packed(*command)))
    table = client.do_get(info.endpoints[0].ticket).read_all()
    same(table.schema, info.schema, command[0])
    return table


# What is asked at the start of a connection, and by whoever lists tables.
same(answer("CommandGetSqlInfo", field(1, 0), field(1, 3)).num_rows, 2)
same(answer("CommandGetCatalogs").to_pydict(), {"catalog_name": [DATABASE]})
same("public" in answer("CommandGetDbSchemas", field(1, DATABASE)).column("db_schema_name").to_pylist(), True)
same(answer("CommandGetTableTypes").column("table_type").to_pylist(), ["TABLE", "VIEW"])
tables = answer("CommandGetTables", field(2, "public"), field(3, "shar%"), field(4, "TABLE"), field(5, 1))
same([name for name in tables.column("table_name").to_pylist() if name == "shares"], ["shares"])
index = tables.column("table_name").to_pylist().index("shares")
columns = pa.ipc.read_schema(pa.BufferReader(tables.column("table_schema").to_pylist()[index]))
same([name for name in columns.names if name in COLUMNS], list(COLUMNS))
same(answer("CommandGetXdbcTypeInfo").num_rows > 5, True)
for keys in ("CommandGetPrimaryKeys", "CommandGetExportedKeys", "CommandGetImportedKeys"):
    same(answer(keys, field(3, "shares")).num_rows, 0, keys)

# A statement at once, and one that is prepared, bound, run and closed.
counted = answer("CommandStatementQuery", field(1, "SELECT count(*) AS n, sum(difficulty) AS work FROM shares"))
same(counted.to_pylist(), [{"n": ROWS, "work": SUM_OF_DIFFICULTY}])
question = "SELECT miner, difficulty, event_time FROM shares WHERE producer_seq = ? AND event_time >= ?"
made = next(client.do_action(flight.Action("CreatePreparedStatement", packed("ActionCreatePreparedStatementRequest", field(1, question)))))
prepared = unpacked(unpacked(made.body.to_pybytes())[2])
handle = field(1, prepared[1])
same(pa.ipc.read_schema(pa.BufferReader(prepared[2])).names, ["miner", "difficulty", "event_time"])
same(len(pa.ipc.read_schema(pa.BufferReader(prepared[3]))), 2)
for n in (7, 8):
    values = pa.record_batch([pa.array([n]), pa.array([START], pa.timestamp("us", "UTC"))], names=["0", "1"])
    descriptor = flight.FlightDescriptor.for_command(packed("CommandPreparedStatementQuery", handle))
    writer, reader = client.do_put(descriptor, values.schema)
    writer.write_batch(values)
    writer.done_writing()
    # The handle stays, or is told anew.
    told = reader.read()
    bound = field(1, unpacked(told.to_pybytes())[1]) if told else handle
    writer.close()
    row = answer("CommandPreparedStatementQuery", bound).to_pylist()
    same(row, [{"miner": f"4{n % 3}", "difficulty": 1_000 + n, "event_time": START + datetime.timedelta(seconds=n)}])
list(client.do_action(flight.Action("ClosePreparedStatement", packed("ActionClosePreparedStatementRequest", handle))))
fails(pa.ArrowInvalid, lambda: answer("CommandStatementQuery", field(1, "SELECT 1 FROM nothing")))
fails(flight.FlightUnauthorizedError, lambda: answer("CommandStatementQuery", field(1, "DELETE FROM shares")))
rows = client.do_get(client.get_flight_info(flight.FlightDescriptor.for_command(packed("CommandStatementQuery", field(1, ENDLESS.replace("count(*)", "value"))))).endpoints[0].ticket)
same(rows.read_chunk().data.num_rows > 0, True)
rows.cancel()
done()
