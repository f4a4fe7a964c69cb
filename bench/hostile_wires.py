"""The statements of hostile_statements.py over the PostgreSQL wire and over Flight SQL.

PostgreSQL is spoken here with the standard library alone. Flight SQL needs ADBC's driver of `.parts/clients`: a client is a process of its own,
`.parts/clients/bin/python bench/hostile_wires.py http://127.0.0.1:8080`, which reads names of statements, one a line, and answers each with one of JSON."""
import json, pathlib, select, socket, struct, subprocess, sys, time

from hostile_statements import ALL

PYTHON = pathlib.Path(__file__).parent.parent / ".parts/clients/bin/python"
# SQLSTATEs that name a limit, or what is wrong with the statement, as the codes of HTTP.
STATES = {
    "53200": "memory_limit", "57014": "time_limit", "54000": "row_limit", "53300": "concurrency_limit", "53400": "memory_limit", "58000": "worker_lost",
    "XX000": "internal",
}


def sql_of(name):
    return ALL[name][0] if isinstance(ALL[name], tuple) else ALL[name]


class PostgresClient:
    """One session after another: what breaks is opened anew with the next statement. Every other statement goes by the extended protocol, as
    drivers send them: Parse, Bind with binary results, Describe, Execute."""

    def __init__(self, address, timeout_s=90):
        self.address, self.timeout_s, self.stream, self.extended = address, timeout_s, None, False

    def send(self, name):
        """A code, and after how many seconds."""
        began = time.monotonic()
        try:
            if self.stream is None:
                self.open()
            self.extended = not self.extended
            self.ask(sql_of(name).encode() + b"\0", self.extended)
            code = self.answer()
        except TimeoutError:
            code = "no answer"
        except (OSError, EOFError):
            code = "cut off"
        if code in ("no answer", "cut off"):
            self.close()
        return code, time.monotonic() - began

    def open(self):
        self.stream = socket.create_connection(self.address, timeout=self.timeout_s).makefile("rwb")
        body = struct.pack(">I", 196608) + b"user\0siege\0database\0headframe\0\0"
        self.stream.write(struct.pack(">I", len(body) + 4) + body)
        self.stream.flush()
        code = self.answer()
        if code != "answered":
            self.close()
            raise OSError(code)

    def close(self):
        if self.stream is not None:
            self.stream.close()
        self.stream = None

    def ask(self, sql, extended):
        if not extended:
            return self.write(b"Q", sql)
        # Unnamed statement and portal, no types of parameters, all columns binary, all rows.
        messages = ((b"P", b"\0" + sql + b"\0\0"), (b"B", b"\0\0" + struct.pack(">HHHH", 0, 0, 1, 1)), (b"D", b"P\0"), (b"E", b"\0" + struct.pack(">I", 0)), (b"S", b""))
        self.stream.write(b"".join(kind + struct.pack(">I", len(body) + 4) + body for kind, body in messages))
        self.stream.flush()

    def write(self, kind, body):
        self.stream.write(kind + struct.pack(">I", len(body) + 4) + body)
        self.stream.flush()

    def exactly(self, count):
        """So many bytes; rows are thrown away a piece at a time."""
        taken = b""
        while count:
            piece = self.stream.read(min(count, 1 << 20))
            if not piece:
                raise EOFError
            taken, count = (taken + piece)[-4096:], count - len(piece)
        return taken

    def answer(self):
        """Reads to the end of an answer; a refusal may be the end of the session."""
        code = "answered"
        while True:
            kind, length = struct.unpack(">cI", self.exactly(5))
            body = self.exactly(length - 4)
            if kind == b"E":
                fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
                state = fields.get(b"C", "")
                code = STATES.get(state, "sql_plan" if state[:2] in ("42", "22", "0A") else f"status {state}")
                if fields.get(b"V") == "FATAL":
                    self.close()
                    return code
            elif kind == b"Z":
                return code


class FlightClient:
    """One process with ADBC's driver; a new one when it is gone."""

    def __init__(self, url, timeout_s=90):
        self.url, self.timeout_s, self.child = url, timeout_s, None

    def send(self, name):
        if self.child is None or self.child.poll() is not None:
            self.child = subprocess.Popen([str(PYTHON), __file__, self.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        began = time.monotonic()
        try:
            print(name, file=self.child.stdin, flush=True)
            if not select.select([self.child.stdout], [], [], self.timeout_s)[0]:
                self.close()
                return "no answer", time.monotonic() - began
            said = self.child.stdout.readline()
        except OSError:
            said = ""
        return (json.loads(said)["code"] if said else "cut off"), time.monotonic() - began

    def close(self):
        if self.child is not None:
            self.child.kill()
            self.child.wait()


def flight_code(error):
    """The code of an error of ADBC by the status of gRPC, which its text names."""
    text = str(error)
    for status, code in (("RESOURCE_EXHAUSTED", "memory_limit"), ("ResourceExhausted", "memory_limit"), ("DEADLINE", "time_limit"), ("DeadlineExceeded", "time_limit"),
                         ("InvalidArgument", "sql_plan"), ("INVALID_ARGUMENT", "sql_plan"), ("Unavailable", "worker_lost"), ("Cancelled", "cancelled"), ("NotFound", "sql_plan")):
        if status.lower() in text.lower():
            return code
    return "internal" if "internal" in text.lower() else f"status {text[:80]}"


def main():
    from adbc_driver_flightsql import dbapi
    address = sys.argv[1].replace("http", "grpc", 1)
    for line in sys.stdin:
        try:
            with dbapi.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
                cursor.execute(sql_of(line.strip()))
                for _ in cursor.fetch_record_batch():
                    pass
            code = "answered"
        except Exception as error:
            code = flight_code(error)
        print(json.dumps({"code": code}), flush=True)


if __name__ == "__main__":
    main()
