"""Headframe under load: a nats-server that syncs every acknowledgement, `headframe up`, and `headframe-load`. Standard library only."""
import json, os, pathlib, random, signal, socket, statistics, subprocess, threading, time, urllib.error, urllib.parse, urllib.request

NATS = pathlib.Path(".parts/bin/nats-server").resolve()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def load_binary(headframe):
    """The load generator: $HEADFRAME_LOAD, or `headframe-load` beside the given `headframe`."""
    found = pathlib.Path(os.environ.get("HEADFRAME_LOAD") or pathlib.Path(headframe).resolve().with_name("headframe-load"))
    if not os.access(found, os.X_OK):
        raise SystemExit(f"bench: {found} is missing; run 'make bench' or 'cargo build --release -p headframe-bench'")
    return str(found)


def peak_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Ours:
    """One nats-server, one `headframe up`, in one folder."""

    def __init__(self, binary, folder):
        self.binary, self.folder = str(pathlib.Path(binary).resolve()), pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.nats_port, self.port = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.config = self.folder / "headframe.toml"
        self.config.write_text(
            f'data_dir = "{self.folder}"\nmanaged_nats = false\nroles = ["pipelines", "maintenance", "query"]\n'
            f'[nats]\nurl = "nats://127.0.0.1:{self.nats_port}"\n[query]\nlisten = "127.0.0.1:{self.port}"\n')
        # The settings of the server that headframe manages itself; apart here so that a backlog can build up while headframe is down.
        conf = self.folder / "nats.conf"
        conf.write_text(f'listen: "127.0.0.1:{self.nats_port}"\nmax_payload: 8388608\n'
                        f'jetstream {{\n  store_dir: "{self.folder}/nats"\n  sync_interval: always\n}}\n')
        self.nats = subprocess.Popen([str(NATS), "-c", str(conf), "-l", str(self.folder / "nats.log")])
        self.process = None

    def start(self):
        """Seconds from the start of the process until it says it is ready."""
        began = time.monotonic()
        self.process = subprocess.Popen([self.binary, "up", "--config", str(self.config)], stderr=open(self.folder / "log", "a"))
        while time.monotonic() < began + 120:
            if self.process.poll() is not None:
                raise SystemExit(f"bench: headframe ended while starting:\n{(self.folder / 'log').read_text()[-2000:]}")
            try:
                urllib.request.urlopen(f"{self.base}/ready", timeout=10).read()
                return time.monotonic() - began
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.02)
        raise SystemExit("bench: headframe was not ready in time")

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(timeout=120)

    def end(self):
        for process in (self.process, self.nats):
            if process and process.poll() is None:
                process.terminate()
                process.wait(timeout=60)

    def load(self, *arguments):
        """Runs `headframe-load shares`; its own figures."""
        done = subprocess.run([load_binary(self.binary), "shares", "--config", str(self.config), *map(str, arguments)], check=True, capture_output=True)
        return json.loads(done.stdout)

    def sql(self, text, refused=None):
        """Rows of an answer; `refused` stands for one that is refused for want of memory."""
        body = json.dumps({"sql": text, "format": "ndjson"}).encode()
        request = urllib.request.Request(f"{self.base}/api/v1/sql", data=body, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return [json.loads(line) for line in answer.read().splitlines()]
        except urllib.error.HTTPError as error:
            if error.code == 507 and refused is not None:
                return refused
            raise SystemExit(f"bench: {text}: {error.code} {error.read().decode()}") from error

    def raw_rows(self):
        return self.sql("SELECT count(*) AS n FROM shares")[0]["n"]

    def rolled_rows(self):
        """Shares that have reached every tier of the rollups: the coarsest is made from the others. As long as millions of rows wait for
        their rollups the sum takes more memory than a statement may have, and is refused; then they are not there yet."""
        answer = self.sql("SELECT sum(accepted_shares + stale_shares + rejected_shares) AS n FROM pool_hashrate_1d", refused=({"n": 0},))
        return answer[0]["n"] or 0

    def wait(self, figure, rows, seconds=1200):
        deadline = time.monotonic() + seconds
        while figure() < rows:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: {figure.__name__} did not reach {rows}:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def through(self, *arguments, rows, before):
        """Publishes and waits until all rows are in the raw table and in the rollups. (load's figures, rows a second end to end)"""
        began = time.monotonic()
        figures = self.load("--rows", rows, *arguments)
        self.wait(self.raw_rows, before + rows)
        self.wait(self.rolled_rows, before + rows)
        return figures, rows / (time.monotonic() - began)

    def post(self, line):
        request = urllib.request.Request(f"{self.base}/api/v1/ingest/shares", data=line, headers={"Content-Type": "application/x-ndjson"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()

    def visible_under_load(self, rate, seconds):
        """Milliseconds from posting a row until an SQL answer has it, while `headframe-load` publishes at `rate`."""
        loader = threading.Thread(target=self.load, args=("--rows", rate * seconds, "--rate", rate))
        loader.start()
        waits, number = [], 0
        while loader.is_alive():
            name = f"probe-{random.randrange(1 << 60)}-{number}"
            number += 1
            row = {"event_time": int(time.time() * 1e6), "pool": "main", "miner": "4" + "0" * 94, "worker": name, "outcome": "accepted",
                   "difficulty": 1, "network_difficulty": 600_000_000_000, "height": 1}
            began = time.monotonic()
            self.post(json.dumps(row).encode())
            ask = f"SELECT count(*) AS n FROM shares WHERE worker = '{name}' AND ingest_time > now() - INTERVAL '1 minute'"
            while self.sql(ask)[0]["n"] != 1:
                pass
            waits.append((time.monotonic() - began) * 1e3)
            time.sleep(0.05)
        loader.join()
        return sorted(waits), number

    def bytes_of(self, table):
        """Bytes of the live files of a table, as its log says."""
        from deltalake import DeltaTable
        adds = DeltaTable(str(self.folder / "tables" / table)).get_add_actions(flatten=True)
        return sum(adds.column("size_bytes").to_pylist()), adds.num_rows

    def times(self, text, repeats=11):
        """Milliseconds of a query over HTTP, sorted; the first, cold one apart."""
        taken = []
        for _ in range(repeats):
            began = time.monotonic()
            self.sql(text)
            taken.append((time.monotonic() - began) * 1e3)
        return taken[0], sorted(taken[1:])
