"""Visitors of the pool's page; bench/visitors.sh says what is measured."""

import argparse
import asyncio
import datetime
import json
import random
import sys
import tempfile
import time

from live import start

GOAL_P99_MS, GOAL_LOSS, GOAL_LIVE_P99_MS = 50, 0.05, 150
BATCH = 50
# What the page asks for, and every how many seconds (console/assets/pool.js).
PAGE = {
    "/api/v1/pool": 4,
    "/api/v1/pool/effort": 15,
    "/api/v1/pool/hashrate?span=24h": 15,
    "/api/v1/pool/hashrate.svg?span=24h&width=1000&height=220": 15,
    "/api/v1/blocks?limit=12": 10,
    "/api/v1/pool/miners?limit=10": 30,
}


class Connection:
    """One connection that is kept, with one request at a time."""

    def __init__(self, port):
        self.port, self.streams, self.tags = port, None, {}

    async def request(self, method, path, body=b"", headers=""):
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        tag = self.tags.get(path)
        known = f"If-None-Match: {tag}\r\n" if tag else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: {len(body)}\r\n{known}{headers}\r\n"
        writer.write(head.encode() + body)
        status = int((await reader.readline()).split()[1])
        length = 0
        while (line := await reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            if name.lower() == "content-length":
                length = int(value)
            elif name.lower() == "etag":
                self.tags[path] = value.strip()
            elif name.lower() == "transfer-encoding":
                raise ValueError(f"{path} came in chunks")
        await reader.readexactly(length)
        return status


class LivePages:
    """Open pages that follow the readings of a sensor: how many rows are due and came, and how late."""

    def __init__(self):
        self.due, self.late_ms, self.writers, self.tasks = 0, [], [], []

    async def open(self, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/v1/streams/sensors/rows?columns=event_time HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while b"event: ready" not in (line := await reader.readline()):
            if not line:
                sys.exit("visitors: a live page was refused")
        self.writers.append(writer)
        self.tasks.append(asyncio.create_task(self.read(reader)))

    async def read(self, reader):
        while line := await reader.readline():
            if line.startswith(b"data: {") and (at := json.loads(line[6:]).get("event_time")):
                made = datetime.datetime.fromisoformat(at).timestamp()
                self.late_ms.append((time.time() - made) * 1e3)

    async def publish(self, port, until):
        """Ten readings a second."""
        connection = Connection(port)
        while time.monotonic() < until:
            row = {"event_time": int(time.time() * 1e6), "site": "bench", "sensor": "1", "quantity": "fan_rpm", "value": 1.0}
            status = await connection.request("POST", "/api/v1/ingest/sensors", json.dumps(row).encode(), "Content-Type: application/x-ndjson\r\n")
            assert status == 200, f"readings are refused: {status}"
            self.due += len(self.tasks)
            await asyncio.sleep(0.1)

    async def close(self):
        deadline = time.monotonic() + 10
        while len(self.late_ms) < self.due and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for task, writer in zip(self.tasks, self.writers):
            task.cancel()
            writer.close()


async def mine(port, miners, rate, seconds):
    """Shares of many miners at a rate; answers how many were acknowledged a second."""
    connections = [Connection(port) for _ in range(4)]
    taken, begun, number = 0, time.monotonic(), 0

    async def send(connection):
        nonlocal taken, number
        while (now := time.monotonic()) < begun + seconds:
            at = begun + number * BATCH / rate
            number += 1
            if at > now:
                await asyncio.sleep(at - now)
            micros = int(time.time() * 1e6)
            share = lambda: {"event_time": micros, "pool": "main", "miner": f"4Miner{random.randrange(miners)}", "worker": "w",
                             "outcome": "accepted", "difficulty": 10_000, "network_difficulty": "300000000000", "height": 100}
            body = "\n".join(json.dumps(share()) for _ in range(BATCH)).encode()
            status = await connection.request("POST", "/api/v1/ingest/shares", body, "Content-Type: application/x-ndjson\r\n")
            assert status == 200, f"shares are refused: {status}"
            taken += BATCH

    await asyncio.gather(*(send(connection) for connection in connections))
    return taken / (time.monotonic() - begun)


async def visit(port, until, times, failures):
    connection = Connection(port)
    due = {path: time.monotonic() + random.random() * every for path, every in PAGE.items()}
    while True:
        path, at = min(due.items(), key=lambda pair: pair[1])
        if at > until:
            return
        await asyncio.sleep(max(0, at - time.monotonic()))
        begun = time.monotonic()
        try:
            status = await connection.request("GET", path)
            if status not in (200, 304):
                failures[status] = failures.get(status, 0) + 1
            else:
                times.append((time.monotonic() - begun) * 1e3)
        except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
            failures[type(error).__name__] = failures.get(type(error).__name__, 0) + 1
            connection.streams = None
        due[path] = max(at + PAGE[path], time.monotonic())


async def measure(port, options):
    await mine(port, options.miners, options.rate, 5)
    alone = await mine(port, options.miners, options.rate, options.seconds)
    times, failures, pages = [], {}, LivePages()
    for _ in range(options.pages):
        await pages.open(port)
    until = time.monotonic() + options.seconds
    visits = [visit(port, until, times, failures) for _ in range(options.visitors)]
    crowded, *_ = await asyncio.gather(mine(port, options.miners, options.rate, options.seconds), pages.publish(port, until), *visits)
    await pages.close()
    times.sort()
    pages.late_ms.sort()
    at = lambda sorted_ms, share: sorted_ms[min(len(sorted_ms) - 1, int(len(sorted_ms) * share))] if sorted_ms else 0.0
    part = lambda share: at(times, share)
    print(f"{options.visitors} visitors, {len(times)} answers in {options.seconds} s: median {part(0.5):.1f} ms, p99 {part(0.99):.1f} ms (goal {GOAL_P99_MS} ms)")
    print(f"shares a second: {alone:.0f} alone, {crowded:.0f} with visitors (goal: within {GOAL_LOSS:.0%})")
    late = at(pages.late_ms, 0.99)
    print(f"{options.pages} live pages of ten rows a second: {len(pages.late_ms)} of {pages.due} rows, median {at(pages.late_ms, 0.5):.1f} ms, p99 {late:.1f} ms (goal {GOAL_LIVE_P99_MS} ms)")
    print(f"refused or broken: {failures or 'none'}")
    good = len(pages.late_ms) == pages.due and late <= GOAL_LIVE_P99_MS
    return good and part(0.99) <= GOAL_P99_MS and crowded >= alone * (1 - GOAL_LOSS) and not failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    for name, default in (("visitors", 2000), ("pages", 500), ("seconds", 20), ("miners", 15000), ("rate", 750)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Room for every visitor, all of whom come from one address here.
        server, port = start(options.binary, folder, options.visitors + options.pages, "public_pages = true\nrequests_per_s = 0\npublic_slots = 64\nreader_slots = 64\noperator_slots = 64")
        try:
            good = asyncio.run(measure(port, options))
        finally:
            server.terminate()
            server.wait(60)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
