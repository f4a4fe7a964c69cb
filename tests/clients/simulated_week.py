"""A simulated mine in virtual time: what the tables say beside what the scenario's script predicts, and beside sums that are made here again.

usage: simulated_week.py HEADFRAME URL HOURS MACHINES PHASE   (started by the test in simulated_week.rs, in a folder of its own, on a server without users:
first with the phase "history", then, after a restart, with "judged")
"""
import collections, datetime, json, os, pathlib, subprocess, sys, time, urllib.error, urllib.request

program, url, hours, machines, phase = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
PATIENCE_S = int(os.environ.get("HEADFRAME_WEEK_PATIENCE_S", "240"))
SITE, POLL_S, HOUR_S, GAP_S = "north", 60 if hours <= 24 else 120, 3600, 900
BEGUN = pathlib.Path("begun")
if phase == "history":
    BEGUN.write_text(str(int(time.time()) // 60 * 60 - hours * HOUR_S))
START_S = int(BEGUN.read_text())
END_S = START_S + hours * HOUR_S
# A machine in eleven has no API: only its plug sees it.
OLD = max(1, machines // 11)
S19 = machines - OLD
NAMES = [f"s19-{n}" for n in range(1, S19 + 1)] + [f"old-{n}" for n in range(1, OLD + 1)]

# The script: when, from the start on, and for how long.
# All in the last hours: rules look back for a day.
LYING_AT, LYING_FOR = (hours - 6) * HOUR_S, 10 * POLL_S
STANDBY_AT, STANDBY_FOR = (hours - 4) * HOUR_S, 20 * 60 + 20 * POLL_S
DEAD_AT, DEAD_FOR = (hours - 3) * HOUR_S, HOUR_S
STUCK_AT, STUCK_FOR = (hours - 2) * HOUR_S, 45 * POLL_S
SHIFTED_AT = (hours - 1) * HOUR_S
# Rules judge this part of it; what comes later must not be found before.
JUDGED_FROM_S, JUDGED_TO_S = END_S - 7 * HOUR_S, END_S - 40 * 60
MISSING_AFTER_S = 600


def scenario():
    lines = [f'seed = 11\nsite = "{SITE}"\nstart_s = {START_S}\nstep_s = 20.0\ninterval_s = {POLL_S}.0',
             # The script meets the same weather whenever it begins.
             f'[weather]\nmean_c = 8.0\nswing_c = 4.0\nwarmest_hour = {(START_S / HOUR_S + 15.5) % 24:.4f}',
             f'[container]\nfans = 9\nfan_w_k = {300.0 * machines}\nheat_capacity_j_k = {500000.0 * machines}\nwalls_w_k = {20.0 * machines}',
             f'[[machines]]\nname = "s19"\ncount = {S19}\nhashrate_ths = 110.0\nefficiency_j_th = 29.5\nboot_s = 90.0\napi = "antminer"',
             f'[[machines]]\nname = "old"\ncount = {OLD}\nhashrate_ths = 14.0\nefficiency_j_th = 95.0\napi = "none"',
             '[[devices]]\nkind = "roomalert"\nname = "room-1"',
             '[[devices]]\nkind = "modbus"\nname = "main"']
    lines += [f'[[devices]]\nkind = "shelly2"\nname = "plug-{name}"\nmeasures = "{name}"' for name in NAMES]
    lines += [f'[[events]]\nat_s = {at}.0\nmachines = "s19-*"\naction = "{action}"' for at, action in ((STANDBY_AT, "standby"), (STANDBY_AT + STANDBY_FOR, "start"))]
    lines += [f'[[faults]]\ndevice = "{device}"\nkind = "{kind}"\nat_s = {at}.0' + (f"\nfor_s = {length}.0" if length else "")
              for device, kind, at, length in (("main", "stuck", STUCK_AT, STUCK_FOR), ("plug-old-1", "dead", DEAD_AT, DEAD_FOR), ("plug-s19-1", "lying", LYING_AT, LYING_FOR), ("room-1", "shifted", SHIFTED_AT, None))]
    return "\n".join(lines) + "\n"


def post(path, body):
    request = urllib.request.Request(url + path, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError((path, body, error.read().decode())) from None


def sql(statement):
    return post("/api/v1/sql", {"sql": statement, "max_rows": 1000000, "timeout_ms": 120000})["rows"]


def count(stream):
    """Rows, or why they cannot be counted: millions that are not stored yet may need more memory than a statement has."""
    try:
        return sql(f"SELECT count(*) AS n FROM {stream}")[0]["n"]
    except AssertionError as error:
        return str(error)


def register():
    stated = [("operators", {"id": "o", "name": "O"}),
              ("sites", {"id": SITE, "name": "North", "operator": "o", "location": "simulated", "time_zone": "UTC", "connection_kw": 4.0 * machines, "status": "active"}),
              ("pools", {"id": SITE, "name": "Machines", "operator": "o", "site": SITE, "location": "simulated", "power_limit_kw": 4.0 * machines, "energy_limit_kwh": 96.0 * machines, "energy_period": "day", "algorithm": "sha256d", "status": "active"}),
              ("meters", {"id": "main", "serial_number": "m", "site": SITE, "measures": "site"})]
    stated += [("machines", {"id": name, "site": SITE, "pool": SITE, "model": name.split("-")[0], "serial_number": name, "meter": f"plug-{name}", "rated_power_w": 3500, "status": "active"}) for name in NAMES]
    stated += [("meters", {"id": f"plug-{name}", "serial_number": f"plug-{name}", "site": SITE, "measures": "machine"}) for name in NAMES]
    for kind, body in sorted(stated, key=lambda one: ["operators", "sites", "pools", "meters", "machines"].index(one[0])):
        post(f"/api/v1/{kind}", body)
    return collections.Counter(kind for kind, _ in stated)


def utc(at_s):
    return datetime.datetime.fromtimestamp(at_s, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def register_allocations():
    """Once the history is there: the first statement of an allocation, before or after the restart, knows all of it; the next may be a quarter of an hour later."""
    always = {"power_kw": 1.0 * machines, "valid_from": "2026-01-01T00:00:00Z"}
    post("/api/v1/allocations", {**always, "id": "small", "site": SITE, "energy_kwh": 0.05 * machines, "period": "year"})
    post("/api/v1/allocations", {**always, "id": "pooled", "pool": SITE, "energy_kwh": 96.0 * machines, "period": "day"})


def register_rules():
    """Once the history is there: a rule that begins in the past is applied to it, before or after the restart."""
    valid = {"valid_from": utc(JUDGED_FROM_S), "valid_to": utc(JUDGED_TO_S), "comparison": "above", "metric": "power_w", "type": "OTHER", "severity": "high"}
    for id, kind, subject, threshold in (("over", "site", SITE, 1500.0 * machines), ("never", "site", SITE, 1e8), ("watched", "machine", "old-1", 100.0)):
        post("/api/v1/rules", {**valid, "id": id, "subject_kind": kind, "subject": subject, "threshold": threshold, "missing_after_s": MISSING_AFTER_S if kind == "machine" else 7200})
    until(lambda: sql("SELECT count(*) AS n FROM registry WHERE kind = 'rules'")[0]["n"] != 3 and "not yet", "the rules in the table")


def simulate():
    """The rows as files and as the server got them."""
    pathlib.Path("week.toml").write_text(scenario())
    for more in (["--out", "rows"], ["--send", "--url", url]):
        subprocess.run([program, "sim", "--scenario", "week.toml", "--virtual", f"{hours}h", *more], check=True)
    return simulated()


def simulated():
    return {name: [json.loads(line) for line in open(f"rows/{name}.ndjson")] for name in ("energy", "sensors", "hashrate")}


def until(fact, what):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        fault = fact()
        if not fault:
            return
        assert time.monotonic() < deadline, (what, fault)
        time.sleep(0.5)


def windows(samples, width_s):
    """Watt-hours and measured seconds by meter and window: the area under straight lines between samples at most a quarter of an hour apart."""
    last, sums = {}, collections.defaultdict(lambda: [0.0, 0.0])
    for row in samples:
        meter, at, watts = row["meter"], row["event_time"] / 1e6, row["power_w"]
        if meter in last and 0 < at - last[meter][0] <= GAP_S:
            before, from_w = last[meter]
            slope, begin = (watts - from_w) / (at - before), before
            while begin < at:
                end = min(at, (begin // width_s + 1) * width_s)
                mean = from_w + slope * ((begin + end) / 2 - before)
                entry = sums[meter, int(begin // width_s) * width_s]
                entry[0] += mean * (end - begin) / 3600
                entry[1] += end - begin
                begin = end
        last[meter] = (at, watts)
    return sums


def seconds(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def differ(found, expected):
    if found.keys() != expected.keys():
        return f"{len(found)} of {len(expected)} windows, such as {sorted(expected.keys() ^ found.keys())[:3]}"
    for key, (energy, covered) in expected.items():
        if abs(found[key][0] - energy) > 1e-6 * max(1.0, abs(energy)) or abs(found[key][1] - covered) > 1e-3:
            return f"{key}: {found[key]} instead of {energy}, {covered}"
    return None


def energies(table, name):
    rows = sql(f"SELECT {name} AS name, window_start, energy_wh, covered_s FROM {table} WHERE covered_s > 0")
    return {(row["name"], seconds(row["window_start"])): (row["energy_wh"], row["covered_s"]) for row in rows}


def compare_energy(samples):
    expected = {key: tuple(value) for key, value in windows(samples, HOUR_S).items() if value[1] > 0}
    until(lambda: differ(energies("energy_1h", "meter"), expected), "energy_1h")
    daily = {key: tuple(value) for key, value in windows(samples, 24 * HOUR_S).items() if value[1] > 0}
    until(lambda: differ(energies("energy_1d", "meter"), daily), "energy_1d")
    until(lambda: differ(energies("machine_energy_1d", "machine"), {(meter.removeprefix("plug-"), day): value for (meter, day), value in daily.items() if meter.startswith("plug-")}), "machine_energy_1d")
    until(lambda: differ(energies("site_energy_1d", "site"), {(SITE, day): value for (meter, day), value in daily.items() if meter == "main"}), "site_energy_1d")
    # The pool has no meter of its own: it is the sum of its machines.
    for table, of_meters in (("pool_energy_1h", expected), ("pool_energy_1d", daily)):
        sums = collections.defaultdict(float)
        for (meter, begin), (energy, _) in of_meters.items():
            if meter.startswith("plug-"):
                sums[SITE, begin] += energy
        until(lambda: differ({key: (energy, 1) for key, (energy, _) in energies(table, "pool").items()}, {key: (energy, 1) for key, energy in sums.items()}), table)
    by_machine = {(meter.removeprefix("plug-"), hour): value for (meter, hour), value in expected.items() if meter.startswith("plug-")}
    until(lambda: differ(energies("machine_energy_1h", "machine"), by_machine), "machine_energy_1h")
    by_site = {(SITE, hour): value for (meter, hour), value in expected.items() if meter == "main"}
    until(lambda: differ(energies("site_energy_1h", "site"), by_site), "site_energy_1h")
    # The hour in which a plug was dead is a gap, and nothing is invented for it.
    dead = (START_S + DEAD_AT) // HOUR_S * HOUR_S
    covered = [expected.get(("plug-old-1", hour), (0, 0))[1] for hour in (dead, dead + HOUR_S)]
    assert sum(covered) <= 2 * HOUR_S - DEAD_FOR, covered
    return len(expected)


def stretches():
    """What the script does: signals, detectors that may say so, and from when to when it may begin."""
    standby = {"main/power_w", *(f"plug-s19-{n}/power_w" for n in range(1, S19 + 1)), *(f"{SITE}/s19-{n}/miner/hashrate_hs" for n in range(1, S19 + 1))}
    steps = {"step", "spike", "drift"}
    return [(standby, steps, STANDBY_AT, STANDBY_AT + 3 * POLL_S),
            ({"main/power_w"}, {"stuck"}, STUCK_AT - POLL_S, STUCK_AT + 3 * POLL_S),
            ({"room-1/Internal Sensor/temperature_c", "room-1/Intake/temperature_c"}, steps, SHIFTED_AT, SHIFTED_AT + 3 * POLL_S)]


def compare_anomalies():
    def opened():
        rows = sql("SELECT signal, detector, since FROM anomalies WHERE transition = 'opened'")
        return [(row["signal"], row["detector"], seconds(row["since"][:19] + "Z") - START_S) for row in rows]

    def missing():
        found = opened()
        lost = [(signal, at) for signals, detectors, at, until_at in stretches() for signal in sorted(signals)
                if not any(one == signal and detector in detectors and at - 2 <= since <= until_at for one, detector, since in found)]
        return lost and (len(lost), lost[:3], [row for row in found if row[0] == lost[0][0]])

    until(missing, "an anomaly of the script")
    # What the script does goes on in all that is behind it: temperatures, fans, the sums; and what ends is a change as well.
    touched = [(STANDBY_AT, STANDBY_AT + STANDBY_FOR + 3 * HOUR_S), (STUCK_AT - HOUR_S, STUCK_AT + STUCK_FOR + HOUR_S), (SHIFTED_AT - 2, hours * HOUR_S), (LYING_AT, LYING_AT + LYING_FOR + HOUR_S), (DEAD_AT, DEAD_AT + DEAD_FOR + HOUR_S)]
    # A simulated machine's fans turn at their highest to the digit once its chips are hot: frozen is what they look like.
    found = [row for row in opened() if not (row[0].endswith("/fan_rpm") and row[1] == "stuck") and row[1] != "missing"]
    # A drift is said to begin when its sum was last zero, some samples before what it is about.
    def is_touched(detector, since):
        early = 6 * POLL_S if detector == "drift" else 2
        return any(begin - early <= since <= end for begin, end in touched)

    false = [row for row in found if not is_touched(row[1], row[2])]
    signals = len({row["signal"] for row in sql("SELECT DISTINCT meter AS signal FROM energy")}) + sum(1 for _ in sql("SELECT DISTINCT sensor, quantity FROM sensors")) + S19
    allowed = 0.3 * signals * hours / 24 / 30
    print(f"{len(false)} anomalies that no fault explains in {signals} signals and {hours} h; {allowed:.1f} are allowed", false[:10])
    assert len(false) <= max(allowed, 2), false[:20]


def send(rows):
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    request = urllib.request.Request(url + "/api/v1/ingest/energy", data=body, headers={"Content-Type": "application/x-ndjson"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert json.load(answer)["accepted"] == len(rows)


def compare_silence():
    """A machine whose plug says nothing any more: the one thing that only a clock can tell, so that it is told in real time."""
    def rows(meter, count):
        now = int(time.time() * 1e6)
        return [{"event_time": now - 100000 * n, "site": SITE, "meter": meter, "power_w": 1000.0 + n % 7} for n in reversed(range(count))]

    def told(transition):
        found = sql("SELECT transition FROM anomalies WHERE signal = 'tail/power_w' AND detector = 'missing' ORDER BY event_time")
        return transition not in [row["transition"] for row in found] and (found or "nothing")

    send(rows("tail", 20))
    until(lambda: told("opened"), "the silence of a meter")
    send(rows("tail", 1))
    until(lambda: told("closed"), "the end of the silence")


def compare_allocations(samples):
    """Each statement that knows the whole history is what the samples say."""
    minutes = windows(samples, 60)
    limit_wh = 50.0 * machines

    def area(meters, begin, end):
        parts = [value for (meter, at), value in minutes.items() if meter in meters and begin <= at < end]
        return sum(part[0] for part in parts), sum(part[1] for part in parts)

    def fault():
        # What the test itself sent to be missed is of no allocation.
        last = sql("SELECT max(seq) AS seq FROM energy WHERE meter <> 'tail'")[0]["seq"]
        rows = sql(f"SELECT allocation, event_time, period_start, used_wh, energy_pct, demand_w, demand_covered_s FROM allocation_usage WHERE energy_seq >= {last}")
        for row in rows:
            at, begin = seconds(row["event_time"]), seconds(row["period_start"])
            meters = {"main"} if row["allocation"] == "small" else {f"plug-{name}" for name in NAMES}
            used, _ = area(meters, begin, at)
            if abs(row["used_wh"] - used) > 0.01 + 1e-6 * used:
                return f"{row}: {used} was used"
            if row["allocation"] == "small":
                recent, covered = area(meters, at - GAP_S, at)
                if abs(row["demand_covered_s"] - covered) > 1e-3 or abs(row["energy_pct"] - 100 * used / limit_wh) > 0.01 + 1e-6 * row["energy_pct"]:
                    return f"{row}: {covered} s are covered, {used} Wh of {limit_wh} used"
                if row["demand_w"] is not None and abs(row["demand_w"] - recent * 3600 / covered) > 0.01:
                    return f"{row}: {recent * 3600 / covered} W"
        names = {row["allocation"] for row in rows}
        return not {"small", "pooled"} <= names and f"only of {sorted(names)}"
    until(fault, "allocation_usage")


def minute_means(samples, meter):
    """Mean power of the minutes that rules see, by their end."""
    means = {at + 60: energy * 3600 / covered for (one, at), (energy, covered) in windows(samples, 60).items() if one == meter and covered > 0}
    return sorted((at, mean) for at, mean in means.items() if JUDGED_FROM_S <= at < JUDGED_TO_S)


def compare_violations(samples):
    """The rules of the test find what the samples say, with beginning and end; those that hold by default the three levels of an allocation."""
    episodes, since = [], None
    for at, mean in minute_means(samples, "main"):
        is_over = mean > 1500.0 * machines
        if is_over and since is None:
            since = at
        elif not is_over and since is not None:
            episodes.append((since, at))
            since = None
    episodes += [(since, None)] if since else []
    assert len(episodes) == 2 and episodes[0][1] and not episodes[1][1], episodes

    def over():
        rows = sql("SELECT since, \"until\" FROM violations_now WHERE rule = 'over' ORDER BY since")
        found = [(seconds(row["since"]), row["until"] and seconds(row["until"])) for row in rows]
        return found != episodes and (rows, episodes)
    until(over, "what one rule found")
    assert not sql("SELECT * FROM violations WHERE rule = 'never'")

    # Whose plug was dead is missing for a while, and neither within its limit nor gone.
    known = [at for at, _ in minute_means(samples, "plug-old-1")]
    silent = max(range(1, len(known)), key=lambda n: known[n] - known[n - 1])
    assert known[silent] - known[silent - 1] > MISSING_AFTER_S, known

    def watched():
        rows = sql("SELECT transition, since, observed_at FROM violations WHERE rule = 'watched' ORDER BY version")
        found = [row["transition"] for row in rows if row["transition"] in ("opened", "data_missing", "data_returned")]
        if found[:3] != ["opened", "data_missing", "data_returned"] or {seconds(row["since"]) for row in rows} != {known[0]}:
            return rows or "none"
        returned = next(row for row in rows if row["transition"] == "data_returned")
        return seconds(returned["observed_at"]) != known[silent] and (returned, known[silent])
    until(watched, "a machine whose data were missing")

    def levels():
        beyond = {}
        for row in sql("SELECT event_time, energy_pct FROM allocation_usage WHERE allocation = 'small' ORDER BY event_time DESC"):
            for level in (80, 95, 100):
                if row["energy_pct"] > level:
                    beyond[f"site-energy-{level}"] = seconds(row["event_time"])
        rows = sql(f"SELECT rule, severity, since, status FROM violations_now WHERE rule LIKE 'site-energy-%' AND subject = '{SITE}' AND \"object\" = 'small'")
        found = {row["rule"]: seconds(row["since"]) for row in rows}
        severities = {row["rule"]: row["severity"] for row in rows}
        wanted = {"site-energy-80": "low", "site-energy-95": "high", "site-energy-100": "critical"}
        return (found != beyond or severities != wanted or any(row["status"] != "open" for row in rows)) and (rows, beyond)
    until(levels, "the levels of an allocation")


def history():
    begun = time.monotonic()
    stated = register()
    rows = simulate()
    simulated_at = time.monotonic()
    for stream, sent in rows.items():
        until(lambda: count(stream) != len(sent) and (count(stream), len(sent)), stream)
    registered = {row["kind"]: row["n"] for row in sql("SELECT kind, count(*) AS n FROM registry GROUP BY kind")}
    assert registered == dict(stated), (registered, stated)
    compared = compare_energy(rows["energy"])
    compare_anomalies()
    compare_silence()
    register_allocations()
    register_rules()
    print(f"{sum(map(len, rows.values()))} rows of {hours} h and {machines} machines: sent in {simulated_at - begun:.0f} s, "
          f"{compared} hours of meters and everything else compared after {time.monotonic() - begun:.0f} s; all is well")


def judged():
    begun = time.monotonic()
    samples = simulated()["energy"]
    compare_allocations(samples)
    compare_violations(samples)
    print(f"allocations and violations compared in {time.monotonic() - begun:.0f} s; all is well")


{"history": history, "judged": judged}[phase]()
