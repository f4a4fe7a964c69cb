"""Statements that try to take a server's time or memory: each is short, needs no right but to read, and asks for more than anybody may have.

`ALL` maps a name to a statement, or to a statement and the parameters of its request."""


def doubling(levels):
    parts = ["c0 AS (SELECT 1 AS x)"]
    parts += [f"c{n} AS (SELECT a.x FROM c{n - 1} a CROSS JOIN c{n - 1} b)" for n in range(1, levels + 1)]
    return f"WITH {', '.join(parts)} SELECT count(*) FROM c{levels}"


def chained(levels):
    parts = ["c0 AS (SELECT 1 AS x)"] + [f"c{n} AS (SELECT x + 1 AS x FROM c{n - 1})" for n in range(1, levels + 1)]
    return f"WITH {', '.join(parts)} SELECT x FROM c{levels}"


def nested(levels, opening, core, closing):
    return opening * levels + core + closing * levels


ROWS = "generate_series(1, 1000000)"
WIDE = "repeat('x', 1000000)"

ALL = {
    # What was found in reviews of earlier versions.
    "60 doubling CTEs": doubling(60),
    "3,000 chained CTEs": chained(3_000),
    "window over long strings": f"SELECT count(*) OVER (), repeat('x', 5000) || value FROM {ROWS}",
    "levenshtein of long strings": f"SELECT levenshtein(repeat('a', 60000), repeat('b', 60000) || value) FROM {ROWS}",
    "array_to_string": f"SELECT array_to_string(array_repeat(repeat('x', 100000), 10000), ',') FROM {ROWS}",
    "concat_ws": f"SELECT concat_ws(repeat(',', 100000), {', '.join(['value'] * 200)}) FROM {ROWS}",
    "array_replace_all": f"SELECT array_replace_all(array_repeat('a', 100000), 'a', repeat('b', 100000)) FROM {ROWS}",
    "one wide cell as text": ("SELECT repeat('x', 60000000)", {"format": "text"}),
    "forty bounded columns": "SELECT " + ", ".join(f"repeat('x', 1000000) || value AS c{n}" for n in range(40)) + f" FROM {ROWS}",
    # Planning.
    "EXPLAIN of 60 doubling CTEs": "EXPLAIN " + doubling(60),
    "5,000 nested parentheses": "SELECT " + nested(5_000, "(", "1", ")"),
    "2,000 nested subqueries": nested(2_000, "SELECT * FROM (", "SELECT 1 AS x", ") t"),
    "2,000 nested CASEs": "SELECT " + nested(2_000, "CASE WHEN 1 = 1 THEN ", "1", " ELSE 0 END"),
    "50,000 ORs": "SELECT count(*) FROM shares WHERE " + " OR ".join(f"difficulty = {n}" for n in range(50_000)),
    "100,000 values in a list": f"SELECT count(*) FROM shares WHERE worker IN ({','.join(map(repr, map(str, range(100_000))))})",
    "3,000 UNION ALLs": " UNION ALL ".join(["SELECT 1"] * 3_000),
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
    "a sort of long strings": f"SELECT x FROM (SELECT repeat('x', 3000) || value AS x FROM {ROWS}) ORDER BY x DESC",
    "array_agg of long strings": f"SELECT array_agg(repeat('x', 3000) || value) FROM {ROWS}",
    "string_agg": f"SELECT string_agg(repeat('x', 3000), ',') FROM {ROWS}",
    "unnest of a billion": "SELECT count(x) FROM (SELECT unnest(range(1, 1000000000)) AS x)",
    "unnest of arrays": f"SELECT count(y) FROM (SELECT unnest(array_repeat(repeat('x', 1000), 1000)) AS y FROM {ROWS})",
    "row numbers of ten million": "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY value % 1000 ORDER BY repeat('x', 100) || value) AS n FROM generate_series(1, 10000000))",
    "lag of long strings": f"SELECT max(y) FROM (SELECT lag(repeat('x', 5000) || value, 1) OVER (ORDER BY value) AS y FROM {ROWS})",
    "distinct long strings": f"SELECT count(DISTINCT repeat('x', 3000) || value) FROM {ROWS}",
    "grouping by long strings": f"SELECT count(*) FROM (SELECT repeat('x', 3000) || value AS g FROM {ROWS}) GROUP BY g",
    "lpad of two billion": "SELECT lpad('x', 2000000000, 'y')",
    "repeat of a repeat": f"SELECT repeat({WIDE}, 1000000)",
    "replace that grows": f"SELECT replace({WIDE}, 'x', {WIDE})",
    "a hash join of long keys": f"SELECT count(*) FROM (SELECT repeat('x', 3000) || value AS k FROM {ROWS}) a JOIN (SELECT repeat('x', 3000) || value AS k FROM {ROWS}) b USING (k)",
    "wide rows as JSON": (f"SELECT repeat('x', 50000) || value AS x FROM {ROWS}", {"format": "json"}),
    "wide rows as Parquet": (f"SELECT repeat('x', 50000) || value AS x FROM {ROWS}", {"format": "parquet"}),
}
