"""The job a Pathway user would write for the same work: JetStream into a raw table, and 10 s rollups into another.

Its Delta connector asks for a licence key (PATHWAY_LICENSE_KEY); without one the rows go into CSV files, which is less work.
"""
import os, sys

import pathway as pw

url, stream, subject, raw, rolled = sys.argv[1:6]


class Share(pw.Schema):
    event_time: int
    pool: str
    miner: str
    worker: str
    outcome: str
    difficulty: int
    network_difficulty: int
    height: int


def write(table, path):
    if os.environ.get("PATHWAY_LICENSE_KEY"):
        pw.io.deltalake.write(table, path, min_commit_frequency=1_000)
    else:
        pw.io.csv.write(table, path)


shares = pw.io.nats.read(url, topic=subject, format="json", schema=Share, jetstream_stream_name=stream, autocommit_duration_ms=1_000)
write(shares, raw)
rollup = shares.select(pw.this.pool, pw.this.miner, pw.this.worker, pw.this.outcome, pw.this.difficulty,
                       bin=pw.this.event_time // 10_000_000)
rollup = rollup.groupby(pw.this.bin, pw.this.pool, pw.this.miner, pw.this.worker, pw.this.outcome).reduce(
    pw.this.bin, pw.this.pool, pw.this.miner, pw.this.worker, pw.this.outcome,
    shares=pw.reducers.count(), difficulty=pw.reducers.sum(pw.this.difficulty))
write(rollup, rolled)
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
