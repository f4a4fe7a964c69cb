"""Hostile SQL beside miners: sixteen clients loop over statements that ask for more than anybody may have, while fifty miners send shares. Half of
them ask by HTTP, a quarter over the PostgreSQL wire, and a quarter by Flight SQL where `deploy/setup.sh bench` has put its driver.

Everything is real: nats-server, monerod on a private chain, `headframe up` with the pool, the pipelines and SQL in one process (and its SQL
workers), `headframe-load stratum` as the miners, all on this machine. First the miners alone, then the same miners under siege. The last lines are
one of JSON with every figure, and a table of the goals. Exit code 1 when a goal is missed. Standard library only."""
import argparse, collections, json, os, pathlib, random, re, sys, tempfile, threading, time, urllib.error, urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import stratum
from hostile_statements import ALL, send
from hostile_wires import PYTHON, FlightClient, PostgresClient
from stratum import Pool, free_port, line, say, times

# Miners that come from many networks, and a template that stays the same unless a block is found.
MINERS = "template_refresh_s = 3600\n[stratum.defence]\nnames = { workers_per_wallet = 20000 }\n"
ROLES = ("stratum", "query", "pipelines", "maintenance")
GOALS = []


def goal(name, value, unit, met, limit, more=""):
    """A figure that has a limit, said now and kept for the table."""
    GOALS.append({"goal": name, "value": value, "unit": unit, "limit": limit, "met": bool(met)})
    line(name, f"{value:,.2f}" if isinstance(value, float) else f"{value:,}", unit, f"goal {limit}: {'met' if met else 'MISSED'} {more}")


class HttpClient:
    def __init__(self, url):
        self.url = url

    def send(self, name):
        code, _, took = send(self.url, name)
        return code, took

    def close(self):
        pass


def client(pool, options, number):
    """Who asks: the first ones by the wires that are besieged as well, the others by HTTP."""
    if number < options.postgres_clients:
        return "postgres", PostgresClient(("127.0.0.1", pool.postgres))
    if number < options.postgres_clients + options.flight_clients:
        return "flight", FlightClient(pool.door)
    return "http", HttpClient(pool.door)


class Statements(threading.Thread):
    """One client: statement after statement in a random order, each answer counted by what it was."""

    def __init__(self, pool, options, number, ended):
        super().__init__(daemon=True)
        self.random, self.ended = random.Random(number), ended
        self.wire, self.client = client(pool, options, number)
        self.answers, self.slowest = collections.Counter(), collections.defaultdict(float)

    def run(self):
        # Elsewhere each client has a machine of its own; here what it costs to ask must not be taken from the pool.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self.ended.is_set():
            for name in self.random.sample(sorted(ALL), len(ALL)):
                if self.ended.is_set():
                    return
                code, took = self.client.send(name)
                self.answers[name, code] += 1
                self.slowest[name] = max(self.slowest[name], took)


class Probe(threading.Thread):
    """Asks for one thing at an interval and keeps how long each answer took."""

    def __init__(self, name, ask, ended, every_s=0.25):
        super().__init__(daemon=True)
        self.name_of, self.ask, self.ended, self.every_s, self.seconds, self.errors = name, ask, ended, every_s, [], []

    def run(self):
        while not self.ended.wait(self.every_s):
            began = time.monotonic()
            try:
                self.ask()
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")
            self.seconds.append(time.monotonic() - began)

    def worst(self):
        return max(self.seconds, default=float("nan"))


class Workers(threading.Thread):
    """Watches the resident memory of the SQL workers: how long each was over its limit, and how large it was."""

    def __init__(self, parent, limit, ended):
        super().__init__(daemon=True)
        self.parent, self.limit, self.ended = parent, limit, ended
        self.seen, self.largest, self.server, self.over_since, self.longest_over_s = set(), 0, 0, {}, 0.0
        self.known, self.next_look = set(), 0.0

    def run(self):
        while not self.ended.wait(0.05):
            now, sizes = time.monotonic(), dict(self.sizes())
            self.server = max(self.server, resident(self.parent))
            for pid, size in sizes.items():
                self.seen.add(pid)
                self.largest = max(self.largest, size)
                if size > self.limit:
                    self.longest_over_s = max(self.longest_over_s, now - self.over_since.setdefault(pid, now))
                else:
                    self.over_since.pop(pid, None)

    def sizes(self):
        # Looking through all processes takes a while, so that a new worker is found within a quarter of a second.
        if time.monotonic() >= self.next_look:
            self.known, self.next_look = set(self.children()), time.monotonic() + 0.25
        yield from ((pid, size) for pid in self.known if (size := resident(pid)))

    def children(self):
        for place in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if int((place / "stat").read_text().rsplit(") ", 1)[1].split()[1]) == self.parent:
                    yield int(place.name)
            except (OSError, IndexError):
                continue


def resident(pid):
    """Bytes of memory of a process; 0 when it is gone."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def ask(url, body=None, kind="application/json"):
    data = None if body is None else body.encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"content-type": kind}), timeout=30) as answer:
        return answer.read()


def probes(pool, ended):
    def reading():
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return json.dumps({"event_time": now, "site": "bench", "sensor": "s1", "quantity": "temperature_c", "value": 20.5})

    return [
        Probe("/live", lambda: ask(f"{pool.door}/live"), ended),
        Probe("/metrics", lambda: ask(f"{pool.door}/metrics"), ended, 1.0),
        Probe("a page: /api/v1/pool", lambda: ask(f"{pool.door}/api/v1/pool"), ended, 0.5),
        Probe("ingest: a sensor's reading", lambda: ask(f"{pool.door}/api/v1/ingest/sensors", reading(), "application/x-ndjson"), ended, 0.5),
    ]


def miners(pool, count, rate, seconds):
    said = pool.load("--idle", 0, "--active", count, "--rate", rate, "--seconds", seconds, "--sources", 16, "--pid", pool.process.pid)
    return said["shares"]


def verifying(pool):
    """Sums and counts of the seconds that shares waited for a thread and were hashed, so far."""
    text = ask(f"{pool.door}/metrics").decode()
    totals = collections.Counter()
    for name, value in re.findall(r"^headframe_stratum_(verify(?:_wait)?_seconds_(?:sum|count))(?:{[^}]*})? (\S+)$", text, re.MULTILINE):
        totals[name] += float(value)
    return totals


def mean_ms(before, after, name):
    count = after[f"{name}_count"] - before[f"{name}_count"]
    return (after[f"{name}_sum"] - before[f"{name}_sum"]) / max(count, 1) * 1e3


def accepted(pool):
    body = json.dumps({"sql": "SELECT count(*) AS n FROM shares WHERE outcome = 'accepted'", "format": "ndjson"})
    deadline = time.monotonic() + 60
    while True:
        try:
            return json.loads(ask(f"{pool.door}/api/v1/sql", body))["n"]
        except urllib.error.HTTPError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"siege: SQL does not answer after the siege: {error.read()[:500]}")
            time.sleep(0.5)


def siege(pool, options):
    ended = threading.Event()
    watch = Workers(pool.process.pid, options.worker_memory_mib << 20, ended)
    crowd = [Statements(pool, options, number, ended) for number in range(options.clients)]
    probed = probes(pool, ended)
    for thread in [watch, *crowd, *probed]:
        thread.start()
    shares = miners(pool, options.miners, options.rate, options.seconds)
    ended.set()
    for thread in crowd:
        thread.join(timeout=100)
        thread.client.close()
    return shares, crowd, probed, watch


def percentile(seconds, part):
    ordered = sorted(seconds)
    return ordered[round((len(ordered) - 1) * part)] if ordered else float("nan")


def report(options, quiet, calm_probes, shares, crowd, probed, watch, stored, verified):
    answers = sum((client.answers for client in crowd), collections.Counter())
    by_code = collections.Counter()
    for (_, code), count in answers.items():
        by_code[code] += count
    say(f"{sum(answers.values())} hostile statements of {len(ALL)} kinds by {options.clients} clients in {options.seconds} s:")
    for code, count in by_code.most_common():
        say(f"    {count:>6}  {code}")
    for wire in ("http", "postgres", "flight"):
        of_wire = sum((client.answers for client in crowd if client.wire == wire), collections.Counter())
        line(f"statements over {wire}", sum(of_wire.values()), "")
        if any(client.wire == wire for client in crowd):
            goal(f"statements answered or refused in words over {wire}", sum(n for (_, code), n in of_wire.items() if code not in ("no answer", "cut off")), "", of_wire, "> 0")
    never = sorted(name for name in ALL if not any(asked == name for asked, _ in answers))
    line("kinds that were never sent", len(never), "", ", ".join(never))
    hung = {name: code for (name, code) in answers if code in ("no answer", "internal") or code.startswith("status ")}
    slowest = max((took for client in crowd for took in client.slowest.values()), default=0.0)
    goal("statements without an answer or an error that names a limit", len(hung), "", not hung, "0", json.dumps(hung) if hung else "")
    goal("slowest statement", slowest, "s", slowest <= 35, "<= 30 s and what sending takes")
    calm, busy = quiet["submit_to_ok_ms"], shares["submit_to_ok_ms"]
    line("submit to durable OK, quiet", f"{calm['p99']:.0f}", "ms", times(calm))
    line("submit to durable OK, under siege", f"{busy['p99']:.0f}", "ms", times(busy))
    for name, what in [("verify_wait_seconds", "of which waiting for a verifying thread, mean"), ("verify_seconds", "of which hashing, mean")]:
        calm_ms, busy_ms = (mean_ms(*pair, name) for pair in zip(verified, verified[1:]))
        line(what, f"{busy_ms:.1f}", "ms", f"(quiet {calm_ms:.1f})")
    goal("submit to durable OK, p99 under siege by p99 quiet", busy["p99"] / calm["p99"], "x", busy["p99"] <= 1.2 * calm["p99"], "<= 1.2")
    refused = sum(shares["refused"].values())
    goal("shares refused under siege", refused, "", refused == 0, "0", ", ".join(f"{words}: {count}" for words, count in shares["refused"].items()))
    told = quiet["answered_ok"] + shares["answered_ok"]
    goal("shares told OK that are not stored", max(0, told - stored), "", stored >= told, "0", f"({told:,} told, {stored:,} stored)")
    for probe in probed:
        for error, count in collections.Counter(probe.errors).most_common(3):
            say(f"    {probe.name_of}: {count} x {error[:150]}")
        if probe.name_of == "/live":
            goal("/live, worst", probe.worst(), "s", probe.worst() <= 1.0 and not probe.errors, "<= 1", f"(of {len(probe.seconds)})")
        else:
            quiet_p99, p99 = percentile(calm_probes[probe.name_of], 0.99), percentile(probe.seconds, 0.99)
            goal(f"{probe.name_of}, p99", p99, "s", not probe.errors and p99 <= 1.0, "<= 1 and no error", f"(of {len(probe.seconds)}; quiet {quiet_p99:.2f})")
    line("SQL workers that ran", len(watch.seen), "")
    line("largest worker", f"{watch.largest / 2**20:.0f}", "MiB", f"limit {options.worker_memory_mib} MiB")
    line("largest server", f"{watch.server / 2**20:.0f}", "MiB")
    goal("a worker over its limit, longest", watch.longest_over_s, "s", watch.longest_over_s <= 1.0, "<= 1, what a replacement takes")
    kinds = {name: {code: count for (asked, code), count in answers.items() if asked == name} for name in ALL}
    figures = {"goals": GOALS, "quiet": quiet, "siege": shares, "answers": kinds, "largest_worker_bytes": watch.largest, "largest_server_bytes": watch.server}
    pathlib.Path("target/siege-sql.json").write_text(json.dumps(figures, indent=1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--postgres-clients", type=int, default=4, help="how many of the clients speak PostgreSQL")
    parser.add_argument("--flight-clients", type=int, default=4 if PYTHON.exists() else 0, help="how many of them speak Flight SQL, by ADBC of .parts/clients")
    parser.add_argument("--miners", type=int, default=50)
    parser.add_argument("--rate", type=float, default=10.0, help="shares a second of all miners together")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--quiet-seconds", type=int, default=60)
    parser.add_argument("--worker-memory-mib", type=int, default=1536)
    parser.add_argument("--worker-niceness", type=int, default=None, help="by how much statements give way; the product's default without")
    parser.add_argument("--spill-mib", type=int, default=0, help="what sorts and groupings may spill to disk; 0 as in the product")
    options = parser.parse_args()
    stratum.MODE = "light"
    binary = pathlib.Path(options.binary).resolve()
    with tempfile.TemporaryDirectory(prefix="headframe-siege-") as name:
        query = f"worker_memory_mib = {options.worker_memory_mib}\nmemory_mib = {options.worker_memory_mib - 512}\nspill_mib = {options.spill_mib}\n"
        if options.worker_niceness is not None:
            query += f"worker_niceness = {options.worker_niceness}\n"
        postgres = free_port()
        more = f'{MINERS}[postgres]\nlisten = "127.0.0.1:{postgres}"\n'
        with Pool(binary, pathlib.Path(name) / "pool", 10**9, more=more, roles=ROLES, query=query) as pool:
            pool.postgres = postgres
            miners(pool, options.miners, options.rate, 10)  # The first shares meet cold caches.
            before, began = accepted(pool), time.monotonic()
            ended = threading.Event()
            calm = probes(pool, ended)
            for probe in calm:
                probe.start()
            verified = [verifying(pool)]
            quiet = miners(pool, options.miners, options.rate, options.quiet_seconds)
            ended.set()
            verified.append(verifying(pool))
            shares, crowd, probed, watch = siege(pool, options)
            verified.append(verifying(pool))
            report(options, quiet, {probe.name_of: probe.seconds for probe in calm}, shares, crowd, probed, watch, accepted(pool) - before, verified)
            say(f"the quiet and the busy part took {time.monotonic() - began:.0f} s together")
    missed = [row for row in GOALS if not row["met"]]
    say(json.dumps({"siege_sql": GOALS}))
    say(f"\n  {'goal':<62}{'value':>13} {'':<4}{'limit':<34}")
    for row in GOALS:
        value = f"{row['value']:,.2f}" if isinstance(row["value"], float) else f"{row['value']:,}"
        say(f"  {row['goal']:<62}{value:>13} {row['unit']:<4}{row['limit']:<34}{'pass' if row['met'] else 'FAIL'}")
    say(f"siege: {len(missed)} goals missed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
