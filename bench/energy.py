"""Minute readings of many machines, and the report of what each drew on each day: ours beside PostgreSQL 15 with the same rows.

usage: energy.py BINARY [--machines N] [--days N] [--repeats N]      (started by bench/energy.sh)

Both get the same rows: ours over HTTP into the stream, from which the pipelines make windows; PostgreSQL by COPY into a table with a primary key, from
which one statement makes a table of days once, as a nightly job would. The energy of a machine and day is in both the area under straight lines between
samples at most 15 minutes apart. Every answer is compared, and the report fails where one differs by more than a thousandth of a watt-hour.
"""
import argparse, io, json, math, os, pathlib, statistics, subprocess, sys, tempfile, threading, time, urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from ours import Ours
from postgres import Postgres

SITE, BEGIN_S, DAY_S, POST_ROWS = "north", 1_767_225_600, 86_400, 8_000

# A machine, its day, and what it drew: from samples, as a statement over a raw table has to do it. Readings come on the minute, so that no segment
# crosses midnight.
AREA = """
WITH segments AS (
  SELECT meter, event_time AS until, power_w AS to_w,
    lag(event_time) OVER (PARTITION BY meter ORDER BY event_time) AS since,
    lag(power_w) OVER (PARTITION BY meter ORDER BY event_time) AS from_w
  FROM energy {where})
SELECT meter, date_trunc('day', since) AS day,
  sum((from_w + to_w) / 2 * {seconds}) / 3600 AS energy_wh, sum({seconds}) AS covered_s
FROM segments WHERE since IS NOT NULL AND {seconds} <= 900 GROUP BY 1, 2"""
PG_SECONDS = "extract(epoch FROM until - since)::float8"
OUR_SECONDS = "((CAST(until AS BIGINT) - CAST(since AS BIGINT)) / 1000000.0)"
PG_SCHEMA = """
CREATE TABLE energy (event_time timestamptz, site text, meter text, power_w float8, PRIMARY KEY (meter, event_time));
CREATE TABLE machine_energy_1d (machine text, window_start timestamptz, energy_wh float8, covered_s float8, PRIMARY KEY (window_start, machine));
"""


def readings(machines, days):
    """Minute by minute a reading of every machine: (microseconds since 1970, meter, W)."""
    for minute in range(days * 1440 + 1):
        at_us = (BEGIN_S + minute * 60) * 1_000_000
        for machine in range(machines):
            watts = 3000 + 250 * math.sin(minute / 229 + machine) + (minute * 7919 + machine * 104_729) % 97
            yield at_us, f"m{machine}", round(watts, 1)


def parts(machines, days):
    part = []
    for row in readings(machines, days):
        part.append(row)
        if len(part) == POST_ROWS:
            yield part
            part = []
    if part:
        yield part


def register(ours, machines):
    """Through the command that its users have."""
    kinds = {"operators": [{"id": "o", "name": "O"}],
             "sites": [{"id": SITE, "name": "North", "operator": "o", "location": "bench", "time_zone": "UTC", "connection_kw": 4.0 * machines, "status": "active"}],
             "pools": [{"id": SITE, "name": "Machines", "operator": "o", "site": SITE, "location": "bench", "power_limit_kw": 4.0 * machines,
                        "energy_limit_kwh": 96.0 * machines, "energy_period": "day", "algorithm": "sha256d", "status": "active"}],
             "machines": [{"id": f"m{n}", "site": SITE, "pool": SITE, "model": "s19", "serial_number": f"m{n}", "rated_power_w": 3500, "status": "active"}
                          for n in range(machines)]}
    for kind, rows in kinds.items():
        file = ours.folder / f"{kind}.ndjson"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = subprocess.run([ours.binary, "registry", "--url", ours.base, "import", str(file), "--kind", kind], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"bench: {kind}: {done.stderr}")


def fill_ours(ours, machines, days):
    """Seconds until every row is stored, and until every window is right."""
    expected_s = machines * days * DAY_S
    rows = machines * (days * 1440 + 1)
    waiting, lock, errors = parts(machines, days), threading.Lock(), []

    def send():
        while not errors:
            with lock:
                part = next(waiting, None)
            if part is None:
                return
            body = "".join(f'{{"event_time":{at},"site":"{SITE}","meter":"{meter}","power_w":{watts}}}\n' for at, meter, watts in part).encode()
            request = urllib.request.Request(f"{ours.base}/api/v1/ingest/energy", data=body, headers={"Content-Type": "application/x-ndjson"})
            try:
                urllib.request.urlopen(request, timeout=300).read()
            except OSError as error:
                errors.append(f"{error} {getattr(error, 'read', bytes)()!r}")

    began = time.monotonic()
    # In order: what comes in another order is right as well, and more work.
    senders = [threading.Thread(target=send) for _ in range(2)]
    [sender.start() for sender in senders]
    [sender.join() for sender in senders]
    if errors:
        raise SystemExit(f"bench: {errors[0]}")
    stored = lambda: ours.sql("SELECT count(*) AS n FROM energy", refused=({"n": 0},))[0]["n"]
    covered = lambda: round(ours.sql("SELECT sum(covered_s) AS n FROM energy_1d", refused=({"n": 0},))[0]["n"] or 0)
    ours.wait(stored, rows, 3600)
    stored_s = time.monotonic() - began
    ours.wait(covered, expected_s, 3600)
    return rows, stored_s, time.monotonic() - began


def fill_postgres(server, machines, days):
    began = time.monotonic()
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'; " + PG_SCHEMA)
        for part in parts(machines, days):
            text = "".join(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at // 1_000_000))},{SITE},{meter},{watts}\n" for at, meter, watts in part)
            cursor.copy_expert("COPY energy FROM STDIN (FORMAT csv)", io.StringIO(text))
        connection.commit()
        copied_s = time.monotonic() - began
        cursor.execute("INSERT INTO machine_energy_1d " + AREA.format(where="", seconds=PG_SECONDS))
        connection.commit()
    connection = server.connect()
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    return copied_s, time.monotonic() - began


def timed(ask, repeats):
    """(median milliseconds, the answer as {(machine, day): (Wh, s)})"""
    taken = []
    for _ in range(repeats):
        began = time.monotonic()
        answer = ask()
        taken.append((time.monotonic() - began) * 1e3)
    return statistics.median(taken), {(name, str(day)[:10]): (float(energy), float(covered)) for name, day, energy, covered in answer}


def differ(one, other):
    if one.keys() != other.keys():
        return f"{len(one)} rows beside {len(other)}"
    return next((f"{key}: {one[key]} beside {other[key]}" for key in one if any(abs(a - b) > 1e-3 for a, b in zip(one[key], other[key]))), None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    # PostgreSQL's user has to reach its folder.
    os.chmod(folder, 0o755)
    ours, server = Ours(options.binary, folder / "ours"), Postgres(folder / "postgres")
    try:
        ours.start()
        register(ours, options.machines)
        rows, stored_s, rolled_s = fill_ours(ours, options.machines, options.days)
        copied_s, summed_s = fill_postgres(server, options.machines, options.days)
        print(f"{options.machines:,} machines, a reading a minute, {options.days} days: {rows:,} rows")
        print(f"  ours: stored after {stored_s:.0f} s, windows of every width after {rolled_s:.0f} s; PostgreSQL: copied after {copied_s:.0f} s, days summed after {summed_s:.0f} s")
        one_day = min(3, options.days - 1)
        day = time.strftime("%Y-%m-%d", time.gmtime(BEGIN_S + one_day * DAY_S))
        after = time.strftime("%Y-%m-%d", time.gmtime(BEGIN_S + (one_day + 1) * DAY_S))
        windows = "SELECT machine, window_start, energy_wh, covered_s FROM machine_energy_1d WHERE covered_s > 0"
        of_day = f"WHERE event_time >= TIMESTAMP '{day}T00:00:00Z' AND event_time <= TIMESTAMP '{after}T00:00:00Z'"
        of_day_pg = f"WHERE event_time >= '{day}T00:00:00Z' AND event_time <= '{after}T00:00:00Z'"
        asked = [(f"the report of {day}", f"{windows} AND window_start = TIMESTAMP '{day}T00:00:00Z'", f"{windows} AND window_start = '{day}T00:00:00Z'"),
                 ("the report of all days", windows, windows),
                 (f"{day} from its samples", AREA.format(where=of_day, seconds=OUR_SECONDS), AREA.format(where=of_day_pg, seconds=PG_SECONDS))]
        cursor = server.connect().cursor()
        cursor.execute("SET TIME ZONE 'UTC'")

        def answer_of_postgres(text):
            cursor.execute(text)
            return cursor.fetchall()

        for what, text, text_pg in asked:
            theirs_ms, expected = timed(lambda: answer_of_postgres(text_pg), options.repeats)
            if ours.sql(text, refused=()) == ():
                print(f"  {what:<34}{len(expected):>9,} rows  ours refuses it for want of memory (507)  PostgreSQL {theirs_ms:>9,.1f} ms")
                continue
            ours_ms, found = timed(lambda: [tuple(row.values()) for row in ours.sql(text)], options.repeats)
            fault = differ(found, expected)
            if fault:
                raise SystemExit(f"bench: {what}: {fault}")
            print(f"  {what:<34}{len(found):>9,} rows  ours {ours_ms:>9,.1f} ms  PostgreSQL {theirs_ms:>9,.1f} ms  {theirs_ms / ours_ms:>6.2f} x")
    finally:
        ours.end()
        server.end()
        subprocess.run(["rm", "-rf", str(folder)], check=False)


main()
