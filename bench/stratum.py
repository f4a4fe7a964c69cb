"""The pool under many miners: memory a connection, logins, job fan-out, durable answers, verification rate, an epoch switch. Standard library only.

Everything is real: nats-server that syncs every acknowledgement, monerod on a private chain, `headframe up --roles stratum`, and
`headframe-load stratum` as the miners, all on this machine. Exit code 0 when everything ran, whatever the figures are."""
import argparse, asyncio, json, os, pathlib, resource, shutil, signal, ssl, subprocess, sys, tempfile, time, urllib.error, urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from ours import NATS, cpu_s, free_port, load_binary

# An address that no bench's coins are worth: the donation address of Monero's own project.
WALLET = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A"
CHAIN = pathlib.Path("stratum/tests/data/regtest-2110-blocks.mdb.zst").resolve()
MONEROD = os.environ.get("HEADFRAME_MONEROD", "monerod")
# Measured by the authors of xmrig-proxy 6.26 and in our notes: 18 MB for 9,000 logged-in connections, which verifies nothing.
PROXY_BYTES = 18e6 / 9000


def say(text=""):
    print(text, flush=True)


def line(what, value, unit, goal=""):
    say(f"  {what:<62}{value:>13} {unit:<8}{goal}")


def goal(met, text):
    return f"goal {text}: {'met' if met else 'MISSED'}"


def asked(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=10).read()


class Pool:
    """nats-server, monerod and a pool in one folder, for as long as the `with` block. `roles` are those of the
    pool's process, `query` further keys of its section [query], `more` further keys of [stratum] and sections after it."""

    def __init__(self, binary, folder, difficulty, chain=None, more="", roles=("stratum",), query=""):
        self.binary, self.folder, self.children = binary, folder, []
        self.folder.mkdir(parents=True)
        self.address = f"127.0.0.1:{free_port()}"
        nats, door, rpc, zmq = (free_port() for _ in range(4))
        self.daemon, self.door = f"http://127.0.0.1:{rpc}", f"http://127.0.0.1:{door}"
        if chain:
            place = folder / "chain/fake/lmdb"
            place.mkdir(parents=True)
            with open(place / "data.mdb", "wb") as out:
                subprocess.run(["zstd", "-dc", str(chain)], stdout=out, check=True)
        try:
            self.spawn([MONEROD, "--regtest", "--offline", "--rpc-ssl", "disabled", "--no-igd", "--hide-my-port", "--non-interactive", "--keep-fakechain",
                        "--fixed-difficulty", str(difficulty), "--zmq-pub", f"tcp://127.0.0.1:{zmq}", "--zmq-rpc-bind-port", str(free_port()),
                        "--rpc-bind-port", str(rpc), "--p2p-bind-port", str(free_port()), "--log-level", "0", "--data-dir", str(folder / "chain")])
            conf = folder / "nats.conf"
            conf.write_text(f'listen: "127.0.0.1:{nats}"\nmax_payload: 8388608\n'
                            f'jetstream {{\n  store_dir: "{folder}/nats"\n  sync_interval: always\n}}\n')
            self.spawn([str(NATS), "-c", str(conf), "-l", str(folder / "nats.log")])
            self.until("monerod", lambda: b"height" in asked(f"{self.daemon}/json_rpc", {"jsonrpc": "2.0", "id": "0", "method": "get_info"}))
            config = folder / "headframe.toml"
            config.write_text(
                f'data_dir = "{folder}"\nmanaged_nats = false\nroles = {json.dumps(roles)}\n[nats]\nurl = "nats://127.0.0.1:{nats}"\n'
                f'[query]\nlisten = "127.0.0.1:{door}"\n{query}[stratum]\nlisten = "{self.address}"\nwallet = "{WALLET}"\n'
                f'daemon_url = "{self.daemon}"\ndaemons = {{ zmq_urls = ["tcp://127.0.0.1:{zmq}"] }}\nmax_sessions = 17500\n'
                f'verify_threads = {os.cpu_count()}\nvardiff = {{ min_difficulty = 1 }}\nrandomx = {{ mode = "{MODE}" }}\n{more}')
            self.process = self.spawn([str(binary), "up", "--config", str(config)])
            self.until("the pool", lambda: asked(f"{self.door}/ready"))
        except BaseException:
            self.end()
            raise

    def spawn(self, command):
        log = open(self.folder / f"{pathlib.Path(command[0]).name}.log", "a")
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.children.append(child)
        return child

    def until(self, what, ready):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            ended = [child.args[0] for child in self.children if child.poll() is not None]
            if ended:
                raise SystemExit(f"bench: {ended[0]} ended while starting; see the logs below\n{self.logs()}")
            try:
                if ready():
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.1)
        raise SystemExit(f"bench: {what} was not ready in time\n{self.logs()}")

    def logs(self):
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in self.folder.glob("*.log"))

    def load(self, *options):
        command = [load_binary(self.binary), "stratum", "--pool", self.address, "--wallet", WALLET, *map(str, options)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0 or not done.stdout:
            raise SystemExit(f"bench: the load failed: {done.stdout}\n{self.logs()}")
        return json.loads(done.stdout)

    def end(self):
        for child in reversed(self.children):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    child.kill()
        for child in self.children:
            child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


# Limits by address apply to the miners of the bench, too, who come from many networks; each has a worker name of its own.
CROWD = """template_refresh_s = 3600
[stratum.defence]
allow = []
names = { workers_per_wallet = 20000 }
"""


def crowd(binary, folder, idle, active, rate, seconds):
    say(f"{idle:,} idle and {active:,} active miners, {rate:g} shares a second, all logged in by address and worker of their own")
    with Pool(binary, folder, 100, more=CROWD) as pool:
        # What a process allocates once, whoever comes, is no connection's.
        pool.load("--idle", 200, "--active", 2, "--rate", 2, "--seconds", 5, "--sources", 16)
        began = cpu_s(pool.process.pid)
        said = pool.load("--idle", idle, "--active", active, "--rate", rate, "--seconds", seconds, "--sources", 64, "--daemon", pool.daemon,
                         "--block-every-s", 5, "--pid", pool.process.pid)
        cpu = cpu_s(pool.process.pid) - began
    miners, server, shares, fan = said["miners"], said["server"], said["shares"], said["fan_out"]
    each = server["resident_bytes_per_connection"]
    line("logged in, lost", f"{miners['logged_in']:,}, {sum(miners['lost'].values())}", "")
    line("logins", f"{said['logins']['per_s']:,.0f}", "/s", times(said["logins"]["ms"]))
    line("resident memory a connection", f"{each:,.0f}", "B", goal(each <= 4096, "<= 4,096") + f"; xmrig-proxy 6.26: {PROXY_BYTES:,.0f}")
    line("the pool's process with all of them", f"{server['resident_bytes_busy'] / 2**20:.0f}", "MiB")
    told = fan["after_the_first_miner_ms"]
    if told:
        line(f"job fan-out after the first miner, {fan['new_heights_heard_by_all']} blocks, p99", f"{told['p99']:.0f}", "ms",
             goal(told["p99"] <= 250, "<= 250") + ", " + times(told))
        line("new block in the daemon until a miner is told, p99", f"{fan['after_the_daemon_ms']['p99']:.0f}", "ms", times(fan["after_the_daemon_ms"]))
        line("new block in the daemon until the last miner is told, worst", f"{fan['last_miner_after_the_daemon_ms']['max']:.0f}", "ms",
             times(fan["last_miner_after_the_daemon_ms"]))
    answered = shares["submit_to_ok_ms"]
    if answered:
        line(f"submit to durable OK, {shares['answered_ok']} shares, p99", f"{answered['p99']:.0f}", "ms", times(answered))
    line("shares refused", f"{sum(shares['refused'].values())}", "", ", ".join(f"{words}: {count}" for words, count in shares["refused"].items()))
    line("CPU of the pool meanwhile", f"{cpu:.1f}", "s")
    say()
    return said


def resident(pid):
    for text in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if text.startswith("VmRSS"):
            return int(text.split()[1]) * 1024
    raise SystemExit("bench: the pool is gone")


async def logged_in(address, names, context, at_once=32):
    """Connections that have been answered a login each, with their first job."""
    host, port = address.split(":")
    gate = asyncio.Semaphore(at_once)

    async def one(name):
        async with gate:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            params = {"login": f"{WALLET}.{name}", "pass": "x", "agent": "XMRig/6.26.0", "algo": ["rx/0"]}
            writer.write(json.dumps({"id": 1, "jsonrpc": "2.0", "method": "login", "params": params}).encode() + b"\n")
            said = json.loads(await asyncio.wait_for(reader.readline(), 60))
            if said.get("error") or "job" not in said["result"]:
                raise SystemExit(f"bench: a login was refused: {said}")
            return reader, writer

    return await asyncio.gather(*(one(name) for name in names))


def encrypted(binary, folder, count):
    """The same number of idle miners twice, plain and over TLS, each against a fresh pool; the miners are this process."""
    say(f"{count:,} idle miners over TLS, beside as many without")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    each = {}
    for kind, tls in (("plain", None), ("TLS", context)):
        with Pool(binary, folder / kind, 100, more="template_refresh_s = 3600\n[stratum.defence]\nnames = { workers_per_wallet = 20000 }\n") as pool:
            async def crowd(pool=pool, tls=tls):
                warm = await logged_in(pool.address, [f"warm{n}" for n in range(200)], tls)
                before = resident(pool.process.pid)
                all_of_them = await logged_in(pool.address, [f"w{n}" for n in range(count)], tls)
                await asyncio.sleep(3)  # What a handshake needed is given back by then.
                after = resident(pool.process.pid)
                for _, writer in warm + all_of_them:
                    writer.transport.abort()
                return (after - before) / count
            each[kind] = asyncio.run(crowd())
        line(f"resident memory a connection, {kind}", f"{each[kind]:,.0f}", "B")
    say()
    return each


def verification(binary, folder, shares, rounds):
    threads = os.cpu_count()
    say(f"verification, {MODE} mode: {threads} threads hash with the bare library, then the pool verifies the same shares, {rounds} times in turn")
    more = 'template_refresh_s = 3600\n[stratum.defence]\nlines_burst = 20000\n[stratum.defence.verify]\noverload_ms = 3600000\n'
    with Pool(binary, folder, 10**9, more=more) as pool:
        if MODE == "full":
            pool.until("the dataset", lambda: b"headframe_stratum_randomx_full 1" in asked(f"{pool.door}/metrics"))
        full = ["--full-memory"] if MODE == "full" else []
        said = pool.load("--idle", 0, "--active", 16, "--threads", threads, "--burst", shares, "--rounds", rounds, "--pid", pool.process.pid, *full)
    for turn in said["rounds"]:
        line("bare library; pool, from submit to durable OK", f"{turn['bare_hashes_per_s']:.1f}; {turn['verified_per_s']:.1f}", "/s",
             f"{turn['ratio']:.1%}; processor time {turn['bare_cpu_ms']:.2f}; {turn['pool_cpu_ms']:.2f} ms a share")
    line("verification rate of the bare library's, median", f"{said['ratio']:.1%}", "", goal(said["ratio"] >= 0.95, ">= 95 %"))
    line("  by processor time, median", f"{said['cpu_ratio']:.1%}", "", "bare library's a hash over the pool's a share")
    say()
    return said


def epoch(binary, folder):
    say("an epoch switch: blocks 2110 to 2117 of a private chain, the seed changes with 2112 (height 2113 of the job)")
    with Pool(binary, folder, 100, chain=CHAIN, more="template_refresh_s = 3600\n") as pool:
        time.sleep(3)  # The next seed's cache is prepared when the pool has seen it; on a real chain that is hours ahead.
        said = pool.load("--idle", 50, "--active", 2, "--rate", 0.02, "--eager", "--seconds", 60, "--daemon", pool.daemon, "--block-every-s", 4)
    change = said["seed_change"]
    if not change:
        line("the seed did not change within the time", "-", "")
        return said
    for what, row in (("as a rule", change["as_a_rule"]), ("at the change", change["at_the_change"])):
        line(f"new block until the first share on it is OK, {what}", f"{row['first_ok_ms']:.0f}", "ms",
             f"first job after {row['first_job_ms']:.0f} ms, last after {row['last_job_ms']:.0f} ms")
    line("epoch-switch gap: how much later a share is OK", f"{change['gap_ms']:.0f}", "ms", goal(change["gap_ms"] <= 50, "<= 50"))
    say()
    return said


def times(told):
    return f"p50 {told['p50']:.1f}, p99 {told['p99']:.1f}, max {told['max']:.1f} ms" if told else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--idle", type=int, default=15_000)
    parser.add_argument("--active", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=8.0, help="shares a second of all active miners together")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--shares", type=int, default=50, help="shares a miner in each round of the verification")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mode", choices=["light", "full"], default="light", help="RandomX memory, 256 MiB or 2.3 GiB a process")
    parser.add_argument("--only", default="crowd,encrypted,verification,epoch")
    parser.add_argument("--keep", help="a file for the raw figures")
    options = parser.parse_args()
    global MODE
    MODE = options.mode
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for tool in (MONEROD, "zstd"):
        if not shutil.which(tool):
            sys.exit(f"bench: {tool} is missing; install Debian's packages monero and zstd")
    binary, only, raw = pathlib.Path(options.binary).resolve(), options.only.split(","), {}
    with tempfile.TemporaryDirectory(prefix="headframe-bench-") as name:
        folder = pathlib.Path(name)
        if "crowd" in only:
            raw["crowd"] = crowd(binary, folder / "crowd", options.idle, options.active, options.rate, options.seconds)
        if "encrypted" in only:
            raw["encrypted"] = encrypted(binary, folder / "encrypted", 2_000)
        if "verification" in only:
            raw["verification"] = verification(binary, folder / "verification", options.shares, options.rounds)
        if "epoch" in only:
            raw["epoch"] = epoch(binary, folder / "epoch")
    if options.keep:
        pathlib.Path(options.keep).write_text(json.dumps(raw, indent=1))
    say("bench: stratum done")


if __name__ == "__main__":
    main()
