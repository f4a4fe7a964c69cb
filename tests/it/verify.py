"""Runs the statements of docs/verify-your-payout.md, as they stand there, on real tables; only folder and block are put in.

usage: verify.py PAGE TABLES HASH [trim]   (started by the test in payouts.rs; prints what was computed as JSON)

With `trim` each table's log is first moved into a checkpoint, as it is after a week.
"""
import json, os, pathlib, re, sys, tempfile

import duckdb

page, tables, block = open(sys.argv[1]).read(), sys.argv[2], sys.argv[3]
statements = re.findall(r"```sql\n(.*?)```", page, re.S)
assert len(statements) == 11, len(statements)
if sys.argv[4:] == ["trim"]:
    from deltalake import DeltaTable
    for log in pathlib.Path(tables).glob("*/_delta_log"):
        DeltaTable(str(log.parent)).create_checkpoint()
        for entry in sorted(log.glob("*.json"))[:-1]:
            entry.unlink()
os.chdir(tempfile.mkdtemp(dir=os.path.dirname(tables)))
connection, answers = duckdb.connect(), []
for text in statements:
    for statement in filter(None, map(str.strip, re.split(r";\s*(?:\n|$)", text))):
        if statement.startswith("SET VARIABLE tables ="):
            statement = f"SET VARIABLE tables = '{tables}'"
        if statement.startswith("SET VARIABLE block ="):
            statement = f"SET VARIABLE block = '{block}'"
        done = connection.execute(statement)
        if statement.startswith("SELECT"):
            answers.append([[str(value) for value in row] for row in done.fetchall()])
parts = connection.execute("SELECT miner, amount::VARCHAR FROM parts ORDER BY position").fetchall()
roots, windows, credits = answers
print(json.dumps({"roots": roots, "windows": windows, "credits": credits, "parts": parts}))
