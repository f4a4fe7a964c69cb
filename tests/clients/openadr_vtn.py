"""The site controller as a client of an OpenADR 3 server that is not ours: OpenLEADR's, over a PostgreSQL of its own.

usage: openadr_vtn.py HEADFRAME OPENLEADR_VTN OPENLEADR_SOURCES   (`make openadr` builds both, and starts this)

A program and an event are made at the server, as a utility would; the controller of a simulated mine reads the event, draws less than
it asks for, reports to the server, and starts its machines again when the event is cancelled. The sources bring the server's tables
and its clients of tests.
"""
import datetime, getpass, json, os, pathlib, re, shutil, socket, subprocess, sys, tempfile, time, urllib.error, urllib.parse, urllib.request

headframe, vtn, sources = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:])
POSTGRES = "/usr/lib/postgresql/15/bin"
PATIENCE_S = 120
# Clients of its tests: the utility, who may write, and the mine, who reads what concerns it and reports.
UTILITY, MINE = ("bl-client", "bl-client"), ("ven-client-client-id", "ven-client")
LIMIT_KW = 14.0
SCENARIO = """
seed = 3
site = "north"
step_s = 0.5
interval_s = 1.0
[weather]
mean_c = 5.0
swing_c = 0.0
[container]
fans = 2
initial_c = 15.0
[[machines]]
name = "old"
count = 4
hashrate_ths = 100.0
efficiency_j_th = 30.0
boot_s = 2.0
api = "luxos"
[[machines]]
name = "new"
count = 4
hashrate_ths = 100.0
efficiency_j_th = 20.0
boot_s = 2.0
api = "whatsminer"
[[devices]]
kind = "shelly2"
name = "main"
[[devices]]
kind = "roomalert"
name = "room"
[[devices]]
kind = "controlbyweb"
name = "relays"
feeds = ["fan-1", "fan-2"]
"""
# Delays of seconds where a mine has minutes.
SECONDS = {"step_s": 0.5, "restart_delay_s": 0, "restart_jitter_s": 0, "min_off_s": 1, "release_stable_s": 1, "debounce_s": 1,
           "ramp_pct_per_min": 100.0, "planned_share": 1.0, "group_pct": 50.0, "group_every_s": 1}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(what, fact):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = fact()
        if found:
            print(f"ok  {what}", flush=True)
            return found
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.2)


def ask(method, url, body=None, token=None, form=False):
    data = None if body is None else urllib.parse.urlencode(body).encode() if form else json.dumps(body).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded" if form else "application/json"} if data else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
        return json.loads(text) if text else None


class Postgres:
    """A server in a folder of its own; root gives it to the user postgres."""

    def __init__(self, folder):
        self.folder, self.port = folder / "postgres", free_port()
        self.folder.mkdir()
        self.is_root = getpass.getuser() == "root"
        if self.is_root:
            folder.chmod(0o755)
            shutil.chown(self.folder, "postgres")
        self.run("initdb", "-D", "data", "-U", "postgres", "--auth", "trust")
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def run(self, program, *arguments):
        command = [f"{POSTGRES}/{program}", *arguments]
        if self.is_root:
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, cwd=self.folder, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def psql(self, *arguments, text=None):
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", *arguments]
        return subprocess.run(command, check=True, input=text, capture_output=True, text=True).stdout.split()

    def finish_tables(self):
        """Two of the server's migrations leave out the name of a subquery, which PostgreSQL wants before its version 16."""
        done = self.psql("-c", "SELECT version FROM _sqlx_migrations WHERE success")
        for file in sorted(pathlib.Path(sources, "migrations").glob("*.sql")):
            if file.name.split("_")[0] not in done:
                text = re.sub(r"(FROM \(SELECT unnest\(\w+\) AS \w+\))(?! AS)", r"\1 AS each", file.read_text())
                self.psql("-1", "-f", "-", text=text)

    def stop(self):
        self.run("pg_ctl", "-D", "data", "-m", "immediate", "stop")


class Run:
    """Everything that runs, ended in reverse."""

    def __init__(self, folder):
        self.folder, self.children = folder, []
        self.postgres = Postgres(folder)

    def start(self, name, command, **environment):
        log = open(self.folder / f"{name}.log", "wb")
        self.children.append(subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **environment}))

    def stop(self):
        for child in reversed(self.children):
            child.terminate()
            child.wait()
        self.postgres.stop()

    def logs(self):
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-2_000:]}")


def answers(url):
    def is_there():
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return True
        except OSError:
            return False
    return is_there


def start_server(run):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    run.start("vtn", [vtn], PORT=str(port), DATABASE_URL=f"postgres://postgres@127.0.0.1:{run.postgres.port}/postgres",
              OAUTH_TYPE="INTERNAL", OAUTH_TOKEN_URL=f"{url}/auth/token", RUST_LOG="info")
    until("the server answers", answers(f"{url}/health"))
    run.postgres.finish_tables()
    run.postgres.psql("-f", f"{sources}/src/api/fixtures/users.sql")
    return url


def start_mine(run, url, program):
    folder, port = run.folder, free_port()
    (folder / "mine.toml").write_text(SCENARIO)
    run.start("sim", [headframe, "sim", "--scenario", "mine.toml", "--site-config-file", "printed.toml", "--speed", "4"])
    printed = folder / "printed.toml"
    until("a mine is simulated", printed.exists)
    text = printed.read_text()
    for key, value in SECONDS.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert count, key
    text = re.sub(r'(?m)^listen = .*$', f'listen = "127.0.0.1:{port}"', text)
    text = re.sub(r'(?m)^signal = \[\]$\n?', "", text)
    secret = folder / "secret"
    secret.write_text(MINE[1])
    secret.chmod(0o600)
    text += f'\n[[signal]]\nkind = "openadr"\nname = "utility"\nclass = "contract"\ninterval_s = 1\nurl = "{url}"\nuser = "{MINE[0]}"\nsecret_file = "{secret}"\nprogram = "{program}"\n'
    (folder / "site.toml").write_text(text)
    run.start("site", [headframe, "site", "run", "--config", "site.toml"])
    site = f"http://127.0.0.1:{port}/api/v1/site"
    until("its controller answers", answers(site))
    return site


def limit(url, token, program, name, duration):
    """An event that begins now and asks the site to draw no more than so much: its id."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ask("POST", f"{url}/events", {
        "programID": program, "eventName": name, "intervalPeriod": {"start": now, "duration": duration},
        "payloadDescriptors": [{"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}],
        "intervals": [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [LIMIT_KW]}]}]}, token)["id"]


def follow_a_cancelled_event(run):
    url = start_server(run)
    token = ask("POST", f"{url}/auth/token", {"grant_type": "client_credentials", "client_id": UTILITY[0], "client_secret": UTILITY[1]}, form=True)["access_token"]
    program = ask("POST", f"{url}/programs", {"programName": "curtailment"}, token)["id"]
    site = start_mine(run, url, program)
    status = lambda: ask("GET", site)
    until("every machine runs", lambda: status()["state"] == "running" and status()["machines"]["running"] == 8)
    event = limit(url, token, program, "heat", "PT2H")
    until("the event curtails the mine", lambda: status()["state"] == "curtailed")
    found = status()
    assert found["measured_kw"] <= found["target_kw"] == LIMIT_KW, found
    assert found["winner"]["source"] == "utility", found["winner"]
    ask("DELETE", f"{url}/events/{event}", token=token)
    until("the cancelled event lets it run", lambda: status()["state"] == "running" and status()["machines"]["running"] == 8)
    return url, token, program, status


def follow_a_report(url, token, program, status):
    """An event that ends by itself is reported when it is over."""
    event = limit(url, token, program, "short", "PT20S")
    until("a short event curtails it, too", lambda: status()["state"] in ("curtailing", "curtailed"))
    own = lambda: [one for one in ask("GET", f"{url}/reports", token=token) if one["eventID"] == event]
    (report, *_) = until("the server has its report", own)
    payloads = {one["type"]: one["values"] for one in report["resources"][0]["intervals"][0]["payloads"]}
    assert payloads["OPERATING_STATE"] == ["RUNNING_CURTAILED"] and payloads["USAGE"][0] > 0, report
    assert report["clientName"] == "north", report
    until("it runs again", lambda: status()["state"] == "running")


with tempfile.TemporaryDirectory() as folder:
    running = Run(pathlib.Path(folder))
    try:
        url, token, program, status = follow_a_cancelled_event(running)
        follow_a_report(url, token, program, status)
        until("the report of the removed event, which it refuses, held up nothing", lambda: "refused: left out" in (running.folder / "site.log").read_text())
        print("all is well")
    except BaseException:
        running.logs()
        raise
    finally:
        running.stop()
