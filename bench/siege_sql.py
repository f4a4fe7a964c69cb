"""Hostile SQL beside miners: sixteen clients loop over statements that ask for more than anybody may have, while fifty miners send shares.

Everything is real: nats-server, monerod on a private chain, `headframe up` with the pool, the pipelines and SQL in one process (and its SQL
workers), `headframe-load stratum` as the miners, all on this machine. First the miners alone, then the same miners under siege. Exit code 1
when a goal is missed. Standard library only."""
import argparse, collections, json, pathlib, random, re, sys, tempfile, threading, time, urllib.error, urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import stratum
from hostile_statements import ALL
from stratum import Pool, line, say, times

# Miners that come from many networks, and a template that stays the same unless a block is found.
MINERS = "template_refresh_s = 3600\n[stratum.defence]\nnames = { workers_per_wallet = 20000 }\n"
ROLES = ("stratum", "query", "pipelines", "maintenance")
MISSED = []


def goal(met, text):
    if not met:
        MISSED.append(text)
    return f"goal {text}: {'met' if met else 'MISSED'}"


class Statements(threading.Thread):
    """One client: statement after statement in a random order, each answer counted by what it was."""

    def __init__(self, url, seed, ended):
        super().__init__(daemon=True)
        self.url, self.random, self.ended, self.answers = url, random.Random(seed), ended, collections.Counter()

    def run(self):
        while not self.ended.is_set():
            for name in self.random.sample(sorted(ALL), len(ALL)):
                if self.ended.is_set():
                    return
                self.answers[name, self.answer(name)] += 1

    def answer(self, name):
        sql, options = ALL[name] if isinstance(ALL[name], tuple) else (ALL[name], {})
        body = json.dumps({"sql": sql, **options}).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/sql", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                while answer.read(1 << 20):
                    pass
            return "answered"
        except urllib.error.HTTPError as error:
            try:
                return json.loads(error.read())["error"]["code"]
            except (ValueError, KeyError, TypeError, OSError):
                return f"status {error.code} without an error body"
        except TimeoutError:
            return "no answer in 90 s"
        except (OSError, urllib.error.URLError) as error:
            # An answer that had begun is cut off, which is how its reader learns that it is not whole.
            return f"cut off: {type(error).__name__}"
        except Exception as error:  # http.client has errors of its own for a body that ends early.
            return f"cut off: {type(error).__name__}"


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
        self.seen, self.largest, self.over_since, self.longest_over_s = set(), 0, {}, 0.0

    def run(self):
        while not self.ended.wait(0.05):
            now, sizes = time.monotonic(), dict(self.sizes())
            for pid, size in sizes.items():
                self.seen.add(pid)
                self.largest = max(self.largest, size)
                if size > self.limit:
                    self.longest_over_s = max(self.longest_over_s, now - self.over_since.setdefault(pid, now))
                else:
                    self.over_since.pop(pid, None)

    def sizes(self):
        for place in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if b"sql-worker" not in (place / "cmdline").read_bytes():
                    continue
                status = (place / "status").read_text()
            except OSError:
                continue
            if f"PPid:\t{self.parent}\n" in status and (size := re.search(r"VmRSS:\s+(\d+)", status)):
                yield int(place.name), int(size[1]) * 1024


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
    crowd = [Statements(pool.door, seed, ended) for seed in range(options.clients)]
    probed = probes(pool, ended)
    for thread in [watch, *crowd, *probed]:
        thread.start()
    shares = miners(pool, options.miners, options.rate, options.seconds)
    ended.set()
    for thread in crowd:
        thread.join(timeout=100)
    return shares, crowd, probed, watch


def report(options, quiet, shares, crowd, probed, watch, stored):
    answers = sum((client.answers for client in crowd), collections.Counter())
    by_code = collections.Counter()
    for (_, code), count in answers.items():
        by_code[code] += count
    say(f"{sum(answers.values())} hostile statements of {len(ALL)} kinds by {options.clients} clients in {options.seconds} s:")
    for code, count in by_code.most_common():
        say(f"    {count:>6}  {code}")
    never = sorted(name for name in ALL if not any(asked == name for asked, _ in answers))
    line("kinds that were never sent", len(never), "", ", ".join(never))
    hung = by_code["no answer in 90 s"] + sum(count for code, count in by_code.items() if code.startswith("status "))
    line("statements without an answer or an error body", hung, "", goal(hung == 0, "0"))
    calm, busy = quiet["submit_to_ok_ms"], shares["submit_to_ok_ms"]
    line("submit to durable OK, quiet, p99", f"{calm['p99']:.0f}", "ms", times(calm))
    line("submit to durable OK, under siege, p99", f"{busy['p99']:.0f}", "ms", times(busy))
    ratio = busy["p99"] / calm["p99"]
    line("  ratio", f"{ratio:.2f}", "", goal(ratio <= 1.2, "<= 1.2"))
    refused = sum(shares["refused"].values())
    line("shares refused under siege", refused, "", ", ".join(f"{words}: {count}" for words, count in shares["refused"].items()))
    told = quiet["answered_ok"] + shares["answered_ok"]
    line("shares that were told OK, shares stored as accepted", f"{told}, {stored}", "", goal(stored >= told, "none lost"))
    for probe in probed:
        limit = 1.0
        words = goal(probe.worst() <= limit, f"<= {limit:g} s") if probe.name_of == "/live" else goal(not probe.errors, "no error")
        line(f"{probe.name_of}, worst of {len(probe.seconds)}", f"{probe.worst():.2f}", "s", words)
        for error, count in collections.Counter(probe.errors).most_common(3):
            say(f"    {count} × {error[:150]}")
    line("SQL workers that ran", len(watch.seen), "")
    line("largest worker", f"{watch.largest / 2**20:.0f}", "MiB", f"limit {options.worker_memory_mib} MiB")
    line("a worker over its limit, longest", f"{watch.longest_over_s:.2f}", "s", goal(watch.longest_over_s <= 1.0, "<= 1 s, what a replacement takes"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--miners", type=int, default=50)
    parser.add_argument("--rate", type=float, default=10.0, help="shares a second of all miners together")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--quiet-seconds", type=int, default=60)
    parser.add_argument("--worker-memory-mib", type=int, default=1024)
    options = parser.parse_args()
    stratum.MODE = "light"
    binary = pathlib.Path(options.binary).resolve()
    with tempfile.TemporaryDirectory(prefix="headframe-siege-") as name:
        query = f"worker_memory_mib = {options.worker_memory_mib}\n"
        with Pool(binary, pathlib.Path(name) / "pool", 10**9, more=MINERS, roles=ROLES, query=query) as pool:
            miners(pool, options.miners, options.rate, 10)  # The first shares meet cold caches.
            before = accepted(pool)
            quiet = miners(pool, options.miners, options.rate, options.quiet_seconds)
            shares, crowd, probed, watch = siege(pool, options)
            report(options, quiet, shares, crowd, probed, watch, accepted(pool) - before)
    say(f"siege: {len(MISSED)} goals missed" + "".join(f"\n  {text}" for text in MISSED))
    sys.exit(1 if MISSED else 0)


if __name__ == "__main__":
    main()
