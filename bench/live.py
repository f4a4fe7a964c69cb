"""Subscribers of a stream under load; bench/live.sh says what is measured."""

import argparse
import asyncio
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

GOAL_KIB, GOAL_P99_MS = 40, 150


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(binary, folder, subscribers, more=""):
    port = free_port()
    config = pathlib.Path(folder) / "headframe.toml"
    config.write_text(f"""
data_dir = "{folder}"
[query]
listen = "127.0.0.1:{port}"
max_connections = {subscribers + 200}
max_connections_per_address = {subscribers + 200}
live_subscribers = {subscribers + 10}
live_subscribers_per_address = {subscribers + 10}
live_subscribers_per_principal = {subscribers + 10}
{more}
""")
    log = open(pathlib.Path(folder) / "headframe.log", "w")
    server = subprocess.Popen([binary, "up", "--roles", "pipelines,query", "--config", str(config)], stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                return server, port
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"live: the server did not come up: {(pathlib.Path(folder) / 'headframe.log').read_text()[-2000:]}")
            time.sleep(0.2)


def memory_kib(pid):
    """The memory of the server itself; its SQL workers are processes of their own."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


async def open_subscription(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/v1/streams/sensors/rows HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    seen = b""
    while b"event: ready" not in seen:
        piece = await reader.read(65536)
        if not piece:
            raise SystemExit(f"live: a subscription was refused: {seen[:300]!r}")
        seen += piece
    return reader, writer


class Counts:
    """Rows that came, and how long those of the watched subscribers took."""

    rows = 0
    late_ms = []


async def count(reader, counts):
    """Counts rows without understanding them."""
    rest = b""
    while piece := await reader.read(262144):
        both = rest + piece
        counts.rows += both.count(b"event: row\n")
        # A name that is cut in two is counted with its second half; a whole one does not fit into what is kept.
        rest = both[-10:]


async def watch(reader, counts):
    """Reads when each row was sent, and compares."""
    while line := await reader.readline():
        if line.startswith(b"data: {") and b'"value"' in line:
            now = time.time()
            row = json.loads(line[6:])
            counts.rows += 1
            counts.late_ms.append((now - row["value"]) * 1000)


async def publish(port, rate, seconds):
    """Sends rows in small messages, evenly; each says when it was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun, sent = time.monotonic(), 0
    each = max(1, rate // 50)
    while time.monotonic() - begun < seconds:
        now = time.time()
        rows = [{"event_time": int(now * 1e6), "site": "bench", "sensor": str(n % 10), "quantity": "fan_rpm", "value": now} for n in range(each)]
        body = "\n".join(json.dumps(row) for row in rows).encode()
        head = f"POST /api/v1/ingest/sensors HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer[:20]:
            raise SystemExit(f"live: rows were refused: {answer[:300]!r}")
        length = int(next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1])
        await reader.readexactly(length)
        sent += each
        await asyncio.sleep(max(0.0, begun + sent / rate - time.monotonic()))
    writer.close()
    return sent


async def measure(options, server, port):
    watched = min(4, options.subscribers)
    one = await open_subscription(port)
    one[1].close()
    before = memory_kib(server.pid)
    subscriptions = []
    for first in range(0, options.subscribers, 50):
        more = [open_subscription(port) for _ in range(min(50, options.subscribers - first))]
        subscriptions += await asyncio.gather(*more)
    idle = (memory_kib(server.pid) - before) / options.subscribers
    counts = Counts()
    tasks = [asyncio.create_task(watch(reader, counts)) for reader, _ in subscriptions[:watched]]
    tasks += [asyncio.create_task(count(reader, counts)) for reader, _ in subscriptions[watched:]]
    begun = time.monotonic()
    sent = await publish(port, options.rate, options.seconds)
    due, deadline = sent * options.subscribers, time.monotonic() + 30
    while counts.rows < due and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    took = time.monotonic() - begun
    loaded = (memory_kib(server.pid) - before) / options.subscribers
    for task in tasks:
        task.cancel()
    for _, writer in subscriptions:
        writer.close()
    late = sorted(counts.late_ms)
    at = lambda share: late[min(len(late) - 1, int(len(late) * share))] if late else float("inf")
    return {"subscribers": options.subscribers, "rows_sent": sent, "rows_received": counts.rows, "seconds": round(took, 2),
            "rows_per_s_to_subscribers": round(counts.rows / took), "late_p50_ms": round(at(0.5), 1), "late_p99_ms": round(at(0.99), 1),
            "idle_kib_each": round(idle, 1), "loaded_kib_each": round(loaded, 1)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=int, default=50, help="rows a second that are published")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server, port = start(os.path.abspath(options.binary), folder, options.subscribers)
        try:
            found = asyncio.run(measure(options, server, port))
        finally:
            server.terminate()
            server.wait(60)
    missed = []
    for name, goal in [("idle_kib_each", GOAL_KIB), ("late_p99_ms", GOAL_P99_MS)]:
        if found[name] > goal:
            missed.append(name)
    if found["rows_received"] != found["rows_sent"] * found["subscribers"]:
        missed.append("rows_received")
    for name, value in found.items():
        print(f"{name:28} {value:>12}{'  MISSED' if name in missed else ''}")
    print(f"goals: {GOAL_KIB} KiB for each subscriber that waits, p99 {GOAL_P99_MS} ms from sending a row to having it, every row once")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
