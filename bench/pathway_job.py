"""The job a Pathway user would write for the same work: JetStream into a Delta table, and 10 s rollups into another."""
import sys

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


shares = pw.io.nats.read(url, topic=subject, format="json", schema=Share, jetstream_stream_name=stream,
                         durable_consumer_name="pathway-bench", autocommit_duration_ms=1_000)
pw.io.deltalake.write(shares, raw, min_commit_frequency=1_000)
rollup = shares.select(pw.this.pool, pw.this.miner, pw.this.worker, pw.this.outcome, pw.this.difficulty,
                       bin=pw.this.event_time // 10_000_000)
rollup = rollup.groupby(pw.this.bin, pw.this.pool, pw.this.miner, pw.this.worker, pw.this.outcome).reduce(
    pw.this.bin, pw.this.pool, pw.this.miner, pw.this.worker, pw.this.outcome,
    shares=pw.reducers.count(), difficulty=pw.reducers.sum(pw.this.difficulty))
pw.io.deltalake.write(rollup, rolled, min_commit_frequency=1_000)
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
