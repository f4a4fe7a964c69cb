"""Statements that try to take a server's time or memory: each is short, needs no right but to read, and asks for more than anybody may have.

`ALL` maps a name to a statement, or to a statement and the parameters of its request. As a program it sends each of them once to a server of
its own and prints what came back: `python3 bench/hostile_statements.py target/release/headframe [part of a name]...`. Exit code 1 when one has
neither an answer in time nor an error that names a limit, or when the server is not there any more. Standard library only."""
import json, pathlib, re, sys, tempfile, threading, time, urllib.error, urllib.request

# Codes of errors that name a limit, or what is wrong with the statement.
LIMITS = ("bad_request", "memory_limit", "time_limit", "row_limit", "sql_plan", "sql_execution")
# Seconds a statement may take here, and how much later its answer may come.
TIME_S, LATE_S = 30, 2


def doubling(levels):
    parts = ["c0 AS (SELECT 1 AS x)"]
    parts += [f"c{n} AS (SELECT a.x FROM c{n - 1} a CROSS JOIN c{n - 1} b)" for n in range(1, levels + 1)]
    return f"WITH {', '.join(parts)} SELECT count(*) FROM c{levels}"


def chained(levels):
    parts = ["c0 AS (SELECT 1 AS x)"] + [f"c{n} AS (SELECT x + 1 AS x FROM c{n - 1})" for n in range(1, levels + 1)]
    return f"WITH {', '.join(parts)} SELECT x FROM c{levels}"


def stacked(levels, column, rest="", first="SELECT value AS x FROM generate_series(1, 1000)"):
    parts = [f"c0 AS ({first})"] + [f"c{n} AS (SELECT {column} AS x FROM c{n - 1}{rest})" for n in range(1, levels + 1)]
    return f"WITH {', '.join(parts)} SELECT max(x) FROM c{levels}"


def nested(levels, opening, core, closing):
    return opening * levels + core + closing * levels


ROWS = "generate_series(1, 1000000)"
# 30,000 letters that are no constant, which would make batches shorter: a quarter of a gigabyte in a batch of 8,192 rows. Each of the forty
# is another expression, or it would be evaluated once for all.
LONG = "repeat('x', 30000 + value % 2)"
FORTY = [f"repeat('x', {30_000 - n} + value % 2)" for n in range(40)]

ALL = {
    # What was found in reviews of earlier versions.
    "60 doubling CTEs": doubling(60),
    "3,000 chained CTEs": chained(3_000),
    "window over long strings": f"SELECT max(n) FROM (SELECT count(*) OVER () AS n, {LONG} AS s FROM {ROWS}) WHERE s > 'w'",
    "window over many rows": "SELECT max(s) FROM (SELECT sum(value) OVER () AS s FROM generate_series(1, 100000000))",
    "levenshtein of long strings": f"SELECT levenshtein(repeat('a', 60000), repeat('b', 60000) || value) FROM {ROWS}",
    "array_to_string": f"SELECT array_to_string(array_repeat(repeat('x', 10000 + value % 2), 1000), ',') FROM {ROWS}",
    "concat_ws": f"SELECT concat_ws({LONG}, {', '.join(['value'] * 200)}) FROM {ROWS}",
    "array_replace_all": f"SELECT array_replace_all(array_repeat('a', 1000 + value % 2), 'a', repeat('b', 60000)) FROM {ROWS}",
    "one wide cell as text": (f"SELECT string_agg({LONG}, '') FROM generate_series(1, 10000)", {"format": "text"}),
    "forty bounded columns": f"SELECT {', '.join([f'{long} AS c{n}' for n, long in enumerate(FORTY)])} FROM {ROWS}",
    "forty bounded arguments": f"SELECT {', '.join([f'max({long})' for long in FORTY])} FROM {ROWS}",
    "forty bounded sort keys": f"SELECT value FROM {ROWS} ORDER BY {', '.join(FORTY)}",
    # Planning.
    "EXPLAIN of 60 doubling CTEs": "EXPLAIN " + doubling(60),
    "5,000 nested parentheses": "SELECT " + nested(5_000, "(", "1", ")"),
    "2,000 nested subqueries": nested(2_000, "SELECT * FROM (", "SELECT 1 AS x", ") t"),
    "2,000 nested CASEs": "SELECT " + nested(2_000, "CASE WHEN 1 = 1 THEN ", "1", " ELSE 0 END"),
    "30,000 ORs": "SELECT count(*) FROM shares WHERE " + " OR ".join(f"difficulty = {n}" for n in range(30_000)),
    "100,000 values in a list": f"SELECT count(*) FROM shares WHERE worker IN ({','.join(map(repr, map(str, range(100_000))))})",
    "3,000 UNION ALLs": " UNION ALL ".join(["SELECT 1"] * 3_000),
    "20 clauses of 190 additions": stacked(20, "x" + " + 1" * 190),
    "80 clauses of windows": stacked(80, "sum(x) OVER (ORDER BY x)", " WHERE x > 0"),
    "80 clauses of subqueries": stacked(80, "x + 1", " WHERE x IN (SELECT max(value) FROM generate_series(1, 9))"),
    "CUBE of 20 columns": f"SELECT count(*) FROM (SELECT {', '.join(f'value AS c{n}' for n in range(20))} FROM {ROWS}) GROUP BY CUBE ({', '.join(f'c{n}' for n in range(20))})",
    "24 joins": "SELECT count(*) FROM shares s0 " + " ".join(f"JOIN shares s{n} ON s{n}.worker = s{n - 1}.worker" for n in range(1, 24)),
    "a regular expression of a million states": f"SELECT regexp_like(value::text, '((a{{1,100}}){{1,100}}){{1,100}}') FROM {ROWS}",
    # Running without end.
    "an endless recursion": "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
    "a growing recursion": "WITH RECURSIVE r AS (SELECT 'x' AS x UNION ALL SELECT x || x FROM r) SELECT count(*) FROM r",
    "a trillion numbers": "SELECT count(*) FROM generate_series(1, 1000000000000)",
    "a cross join of a million by a million": f"SELECT count(*) FROM {ROWS} a, {ROWS} b WHERE a.value % 7 = b.value % 11",
    "a join by inequality": f"SELECT count(*) FROM {ROWS} a JOIN {ROWS} b ON a.value < b.value",
    "shares four times": "SELECT count(*) FROM shares a, shares b, shares c, shares d",
    # Memory.
    "a sort of long strings": f"SELECT x FROM (SELECT repeat('x', 3000 + value % 99) AS x FROM {ROWS}) ORDER BY x DESC",
    "array_agg of long strings": f"SELECT array_agg(repeat('x', 3000 + value % 99)) FROM {ROWS}",
    "string_agg": f"SELECT string_agg(repeat('x', 3000 + value % 99), ',') FROM {ROWS}",
    "unnest of a billion": f"SELECT count(x) FROM (SELECT unnest(range(1, 1000000000 + value)) AS x FROM {ROWS})",
    "unnest of arrays": f"SELECT count(y) FROM (SELECT unnest(array_repeat(repeat('x', 100 + value % 2), 100)) AS y FROM {ROWS})",
    "row numbers of ten million": "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY value % 1000 ORDER BY repeat('x', 100) || value) AS n FROM generate_series(1, 10000000))",
    "lag of long strings": f"SELECT max(y) FROM (SELECT lag(repeat('x', 5000 + value % 2), 1) OVER (ORDER BY value) AS y FROM {ROWS})",
    "distinct long strings": f"SELECT count(DISTINCT repeat('x', 3000 + value % 99)) FROM {ROWS}",
    "grouping by long strings": f"SELECT count(*) FROM (SELECT repeat('x', 3000 + value % 99) AS g FROM {ROWS}) GROUP BY g",
    "lpad of two billion": "SELECT lpad('x', 2000000000, 'y')",
    "repeat of a repeat": f"SELECT repeat({LONG}, 1000000) FROM {ROWS}",
    "replace that grows": f"SELECT replace({LONG}, 'x', {LONG}) FROM {ROWS}",
    "a hash join of long keys": f"SELECT count(*) FROM (SELECT repeat('x', 3000 + value % 99) AS k FROM {ROWS}) a JOIN (SELECT repeat('x', 3000 + value % 99) AS k FROM {ROWS}) b USING (k)",
    "wide rows as JSON": (f"SELECT repeat('x', 20000 + value % 99) AS x FROM {ROWS}", {"format": "json"}),
    "wide rows as Parquet": (f"SELECT repeat('x', 20000 + value % 99) AS x FROM {ROWS}", {"format": "parquet"}),
}


def send(base, name, timeout_s=90):
    """What the server answers: a code, what it says, and after how many seconds."""
    sql, options = ALL[name] if isinstance(ALL[name], tuple) else (ALL[name], {})
    body = json.dumps({"sql": sql, **options}).encode()
    request = urllib.request.Request(f"{base}/api/v1/sql", body, {"content-type": "application/json"})
    began = time.monotonic()
    code, said = answer(request, timeout_s)
    return code, said, time.monotonic() - began


def answer(request, timeout_s):
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            length, tail = 0, b""
            while piece := response.read(1 << 20):
                length, tail = length + len(piece), (tail + piece)[-1000:]
        # Where the rows had begun, the error is the last thing in the body.
        inside = re.search(rb'"code":"(\w+)","message":"([^"]*)', tail)
        return (inside[1].decode(), inside[2].decode()) if inside else ("answered", f"{length:,} bytes")
    except urllib.error.HTTPError as error:
        try:
            said = json.loads(error.read())["error"]
            return said["code"], said["message"]
        except (ValueError, KeyError, TypeError, OSError):
            return f"status {error.code} without an error body", ""
    except TimeoutError:
        return "no answer", f"in {timeout_s} s"
    except Exception as error:  # Also of http.client: a body that ends early is how its reader learns that it is not whole.
        return "cut off", f"{type(error).__name__}: {error}"


def main():
    from ours import Ours, peak_mib

    binary, wanted = sys.argv[1], sys.argv[2:]
    names = [name for name in ALL if not wanted or any(part in name for part in wanted)]
    bad, slowest, ended = [], [0.0], threading.Event()
    with tempfile.TemporaryDirectory(prefix="headframe-hostile-") as folder:
        ours = Ours(binary, folder)
        try:
            ours.start()

            def live():
                while not ended.wait(0.1):
                    began = time.monotonic()
                    urllib.request.urlopen(f"{ours.base}/live", timeout=60).read()
                    slowest[0] = max(slowest[0], time.monotonic() - began)

            threading.Thread(target=live, daemon=True).start()
            for name in names:
                code, said, took = send(ours.base, name)
                if code == "worker_lost":  # The statement before it held the worker too long; the answer is to send it again.
                    code, said, took = send(ours.base, name)
                fine = took <= TIME_S + LATE_S and (code in ("answered", "cut off") or code in LIMITS)
                bad += [] if fine else [name]
                print(f"{'' if fine else 'BAD '}{name}: {took:.1f} s, {code}: {said[:300]}", flush=True)
            ended.set()
            log = pathlib.Path(folder, "log").read_text()
            killed = re.findall(r"an SQL worker ended[^\n]*reason=\W*(\w+)", re.sub(r"\x1b\[[0-9;]*m", "", log))
            print(f"server: peak {peak_mib(ours.process.pid):.0f} MiB, /live at most {slowest[0]:.2f} s; workers killed: {killed}", flush=True)
        finally:
            ended.set()
            ours.end()
    print(f"{len(names)} statements, {len(bad)} without an answer or an error that names a limit: {bad}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
