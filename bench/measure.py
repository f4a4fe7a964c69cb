"""Starts `headframe up` in a temporary folder, posts shares as NDJSON and times what users wait for. Standard library only."""
import concurrent.futures, json, pathlib, random, socket, statistics, subprocess, sys, tempfile, time, urllib.error, urllib.request

BATCH = 5_000


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(url, body=None, kind="application/json"):
    request = urllib.request.Request(url, data=body, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read()


def sql(base, text):
    body = json.dumps({"sql": text, "format": "ndjson"}).encode()
    return [json.loads(line) for line in call(f"{base}/api/v1/sql", body).splitlines()]


def shares(count, seed=1):
    rng = random.Random(seed)
    start = int(time.time() * 1e6) - count * 10_000
    for first in range(0, count, BATCH):
        lines = []
        for i in range(first, min(first + BATCH, count)):
            worker = rng.randrange(1000)
            outcome = "accepted" if rng.random() < 0.98 else rng.choice(["stale", "duplicate", "low_difficulty", "invalid"])
            lines.append(json.dumps({
                "event_time": start + i * 10_000 + rng.randrange(5_000), "pool": "main",
                "miner": f"4{worker % 200:094d}", "worker": f"worker-{worker}", "outcome": outcome,
                "difficulty": rng.choice([10_000, 20_000, 40_000, 80_000]), "network_difficulty": 600_000_000_000,
                "height": 3_300_000 + i // 100_000}))
        yield "\n".join(lines).encode()


def wait_ready(base, process, deadline):
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit("bench: headframe ended while starting")
        try:
            call(f"{base}/ready")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    sys.exit("bench: headframe was not ready in time")


def peak_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main():
    binary, rows = str(pathlib.Path(sys.argv[1]).resolve()), int(sys.argv[2])
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "bench.toml")
        config.write_text(f'data_dir = "{folder}"\n[query]\nlisten = "127.0.0.1:{port}"\n')
        started = time.monotonic()
        process = subprocess.Popen([binary, "up", "--config", str(config)], stderr=open(f"{folder}/log", "w"))
        try:
            wait_ready(base, process, started + 60)
            print(f"start to ready            {time.monotonic() - started:8.2f} s")
            print(f"making {rows} rows", flush=True)
            bodies = list(shares(rows))
            began = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda body: call(f"{base}/api/v1/ingest/shares", body, "application/x-ndjson"), bodies))
            acknowledged = time.monotonic() - began
            while sql(base, "SELECT count(*) AS n FROM shares")[0]["n"] < rows:
                time.sleep(0.01)
            visible = time.monotonic() - began
            print(f"rows acknowledged         {rows / acknowledged:8.0f} rows/s (NDJSON over HTTP, durable in JetStream)")
            print(f"rows visible in SQL       {rows / visible:8.0f} rows/s")
            for query in sorted(pathlib.Path("bench/queries").glob("*.sql")):
                times = []
                for _ in range(7):
                    asked = time.monotonic()
                    sql(base, query.read_text())
                    times.append((time.monotonic() - asked) * 1000)
                print(f"{query.stem:<26}{statistics.median(times):8.1f} ms median, worst {max(times):.1f} ms")
            time.sleep(8)
            size = sum(f.stat().st_size for f in pathlib.Path(folder, "tables/shares").rglob("*.parquet"))
            print(f"bytes a share             {size / rows:8.2f}")
            print(f"peak memory of headframe  {peak_mib(process.pid):8.0f} MiB")
        finally:
            process.terminate()
            process.wait(timeout=60)
    print("bench: done")


if __name__ == "__main__":
    main()
