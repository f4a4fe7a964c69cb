"""Runs everything, prints the figures beside the goals, the worst ones too. Exit code 0 when everything ran, whatever the figures are."""
import argparse, os, pathlib, shutil, signal, statistics, subprocess, sys, tempfile, time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import payouts, postgres, readers
from ours import NATS, Ours, cpu_s, free_port, peak_mib

QUERIES = sorted(pathlib.Path(__file__).parent.joinpath("queries").glob("*.sql"))
ROOM = 6 * 10**9


def say(text=""):
    print(text, flush=True)


def line(what, value, unit, goal=""):
    say(f"  {what:<58}{value:>13} {unit:<8}{goal}")


def goal(met, text):
    return f"goal {text}: {'met' if met else 'MISSED'}"


def middle(values):
    return statistics.median(values)


def rate(rows_per_s):
    return f"{rows_per_s:,.0f}"


def ours(binary, folder, rows):
    """Our side; leaves the tables for the readers. The figures the peers are compared with."""
    found, small = {}, rows // 3
    us = Ours(binary, folder)
    try:
        say("headframe: nats-server with sync_interval always, raw tables and four tiers of rollups, all on this machine")
        line("start of an empty system until ready", f"{us.start():.2f}", "s")
        figures, found["single"] = us.through("--mode", "records", rows=small, before=0)
        line(f"{small:,} single NDJSON records, until in raw and rollups", rate(found["single"]), "rows/s",
             goal(found["single"] >= 150_000, ">= 150,000"))
        line("  acknowledged durable", rate(figures["rows_per_s"]), "rows/s",
             f"ack p50 {figures['ack_p50_ms']:.0f} ms, p99 {figures['ack_p99_ms']:.0f} ms with 4,096 callers")
        before, began = us.raw_rows(), (cpu_s(us.process.pid), cpu_s(us.nats.pid))
        figures, found["batch"] = us.through("--mode", "batches", rows=rows, before=before)
        line(f"{rows:,} shares in Arrow batches, until in raw and rollups", rate(found["batch"]), "rows/s",
             goal(found["batch"] >= 1_000_000, ">= 1,000,000"))
        line("  acknowledged durable", rate(figures["rows_per_s"]), "rows/s", f"ack p99 {figures['ack_p99_ms']:.0f} ms a batch")
        line("  peak memory of headframe so far", f"{peak_mib(us.process.pid):.0f}", "MiB")
        line("  CPU of headframe, of nats-server", f"{cpu_s(us.process.pid) - began[0]:.1f}, {cpu_s(us.nats.pid) - began[1]:.1f}", "s")
        figures = us.load("--rows", 5_000, "--mode", "messages")
        line("one record a message, nothing gathered (worst case)", rate(figures["rows_per_s"]), "rows/s", "each waits for the disk")
        waits, count = us.visible_under_load(20_000, 20)
        p99 = waits[int(len(waits) * 0.99)]
        line(f"post until visible in SQL at 20,000 rows/s, p50 of {count}", f"{middle(waits):.0f}", "ms")
        line("  p99, worst", f"{p99:.0f}, {waits[-1]:.0f}", "ms", goal(p99 <= 1_000, "p99 <= 1,000"))
        total = us.raw_rows()
        us.wait(us.rolled_rows, total)
        time.sleep(45)  # One round of maintenance, so that all readers see the layout that a table has most of its life.
        size, files = us.bytes_of("shares")
        line(f"bytes a share, {files} files of {total:,} rows", f"{size / total:.2f}", "B", goal(size / total <= 6, "<= 6"))
        line("bytes of rollups a share", f"{us.bytes_of('hashrate_rollups')[0] / total:.2f}", "B")
        line("peak memory of headframe, of nats-server", f"{peak_mib(us.process.pid):.0f}, {peak_mib(us.nats.pid):.0f}", "MiB")
        us.stop(signal.SIGKILL)
        line("restart after kill -9 until ready", f"{us.start():.2f}", "s")
        us.stop()
        us.load("--rows", rows, "--mode", "batches", "--span-s", 3 * 3600)
        us.start()
        began = time.monotonic()
        us.wait(us.raw_rows, total + rows)
        raw_s = time.monotonic() - began
        us.wait(us.rolled_rows, total + rows)
        line(f"catching up with a backlog of {rows:,} over 3 h, raw", rate(rows / raw_s), "rows/s")
        line("  raw and rollups", rate(rows / (time.monotonic() - began)), "rows/s")
        line("peak memory of headframe while catching up", f"{peak_mib(us.process.pid):.0f}", "MiB")
        time.sleep(35)
        found["queries"] = {path.stem: us.times(path.read_text()) for path in QUERIES}
        line("peak memory of headframe after maintenance and queries", f"{peak_mib(us.process.pid):.0f}", "MiB")
        say()
        us.stop()
        found["rows"] = total + rows
        return found
    finally:
        us.end()


def beside_postgres(folder, tables, found, rows):
    say("PostgreSQL 15: COPY, repeats dropped by primary key, the same four tiers by upsert, one commit a chunk of 16,384")
    chunks = postgres.chunks_of(tables / "shares", rows)
    server = postgres.Postgres(folder)
    try:
        best = max(server.copy(chunks, connections) for connections in (1, 2))
        line(f"{rows:,} shares into raw and rollups, best of 1 and 2 writers", rate(best), "rows/s",
             "ours: " + ", ".join(f"{name} {found[name] / best:.1f}x" for name in ("single", "batch") if name in found))
        line("bytes a share with its index", f"{server.bytes_a_row(rows):.0f}", "B")
        times = {name: server.times(text) for name, text in postgres.QUERIES.items()}
        for name, (cold, warm) in times.items():
            line(f"{name} over {rows:,} rows", f"{middle(warm):.1f}", "ms", f"cold {cold:.1f}, worst {warm[-1]:.1f}")
    finally:
        server.end()
    say()


def beside_pathway(binary, folder, found, rows):
    target = "Delta" if os.environ.get("PATHWAY_LICENSE_KEY") else "CSV, because its Delta connector needs PATHWAY_LICENSE_KEY"
    say(f"Pathway: JetStream (one record a message, nats-server with its default sync) to {target}; raw and 10 s rollups")
    folder.mkdir()
    us = Ours(binary, folder)
    us.nats.terminate()
    us.nats.wait()
    conf = folder / "nats.conf"
    conf.write_text(conf.read_text().replace("sync_interval: always", 'sync_interval: "2m"'))
    us.nats = subprocess.Popen([str(NATS), "-c", str(conf), "-l", str(folder / "nats.log")])
    log = open(folder / "pathway.log", "w")
    try:
        us.load("--rows", rows, "--mode", "messages")
        raw, rolled = folder / "raw", folder / "rolled"
        began = time.monotonic()
        job = subprocess.Popen([sys.executable, "bench/pathway_job.py", f"nats://127.0.0.1:{us.nats_port}", "shares", "shares.main",
                                str(raw), str(rolled)], stdout=log, stderr=log)
        try:
            first, stored = None, 0
            while stored < rows:
                if job.poll() is not None or time.monotonic() - began > 600:
                    say(f"  Pathway stopped at {stored:,} of {rows:,} rows: {(folder / 'pathway.log').read_text()[-600:]}")
                    return
                time.sleep(0.25)
                stored = rows_of(raw)
                first = first or (stored and (time.monotonic(), stored))
            took = time.monotonic() - began
        finally:
            job.kill()
            job.wait()
        per_s = max(rows / took, (rows - first[1]) / max(time.monotonic() - first[0], 1e-9) if rows > first[1] else 0)
        line(f"{rows:,} shares into raw and rollups", rate(per_s), "rows/s",
             "ours: " + ", ".join(f"{name} {found[name] / per_s:.1f}x" for name in ("single", "batch") if name in found))
    finally:
        us.end()
    say()


def rows_of(path):
    """Rows Pathway has written so far: lines of its CSV file, or the row counts of its Delta log."""
    if path.is_file():
        return max(path.read_bytes().count(b"\n") - 1, 0)
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError
    try:
        return sum(DeltaTable(str(path)).get_add_actions(flatten=True).column("num_records").to_pylist())
    except (TableNotFoundError, OSError):
        return 0


def beside_readers(tables, found):
    say(f"five dashboard queries, ms, median of 10 warm (cold): ours over HTTP with the live tail, readers in process; {found['rows']:,} rows")
    peers = {"DuckDB": readers.duckdb_times(tables), "Polars": readers.polars_times(tables)}
    for name, (cold, warm) in found["queries"].items():
        best = min(middle(times[name][1]) for times in peers.values())
        text = "  ".join(f"{peer} {middle(times[name][1]):.1f} ({times[name][0]:.1f})" for peer, times in peers.items())
        line(name, f"{middle(warm):.1f}", "ms", f"({cold:.1f}) worst {warm[-1]:.1f}   {text}   {goal(middle(warm) <= best, '<= fastest reader')}")
    say()


def of_payouts(binary, folder, rows):
    """Freezing a block's window of several sizes; beside PostgreSQL the largest of up to ten million shares."""
    most = rows * 97 // 100
    sizes = [size for size in (1_000_000, 10_000_000, 50_000_000) if size < most] or [most]
    beside = max([size for size in sizes if size <= 10_000_000] or sizes[:1])
    say(f"payouts: the window of a block frozen over {rows:,} shares of {payouts.MINERS:,} miners, median of {payouts.REPEATS}")
    found = payouts.ours(binary, folder / "ours", rows, sizes)
    for size, (first, times, row) in found.items():
        met = goal(middle(times) <= 300, "<= 300") if size == 10_000_000 else ""
        text = f"worst {times[-1]:.0f}, the first after a start {first:.0f}  {met}"
        line(f"{row['shares']:,} shares of {row['miners']:,} miners found and split", f"{middle(times):.0f}", "ms", text)
    row = found[beside][2]
    times, miners = payouts.peer(folder / "postgres", folder / "ours" / "tables", row)
    assert abs(miners - row["miners"]) <= 1, (miners, row)
    line(f"PostgreSQL 15, {row['shares']:,} shares, window function over an index", f"{middle(times):.0f}", "ms",
         f"ours {middle(times) / middle(found[beside][1]):.0f}x, {middle(times) / found[beside][0]:.0f}x after a start")
    say()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--rows", type=int, default=10_000_000, help="the backlog and the batches; single records are a third of it")
    parser.add_argument("--payout-rows", type=int, default=12_000_000, help="shares in the table of the payouts; more than 51,600,000 for a window of 50 M")
    parser.add_argument("--only", default="ours,readers,postgres,pathway,payouts")
    options = parser.parse_args()
    only = options.only.split(",")
    if shutil.disk_usage(tempfile.gettempdir()).free < ROOM:
        sys.exit(f"bench: needs {ROOM // 10**9} GB free in {tempfile.gettempdir()}; set TMPDIR")
    with tempfile.TemporaryDirectory(prefix="headframe-bench-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        tables = folder / "ours" / "tables"
        if "payouts" in only:
            (folder / "payouts").mkdir()
            of_payouts(options.binary, folder / "payouts", options.payout_rows)
        if only == ["payouts"]:
            return say("bench: done")
        found = ours(options.binary, folder / "ours", options.rows)
        if "readers" in only:
            beside_readers(tables, found)
        if "postgres" in only:
            beside_postgres(folder / "postgres", tables, found, min(options.rows // 5, 2_000_000))
        if "pathway" in only:
            beside_pathway(options.binary, folder / "pathway", found, min(options.rows // 20, 300_000))
    say("bench: done")


if __name__ == "__main__":
    main()
