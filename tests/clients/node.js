// node-postgres: parameters, types, prepared statements, cursors, pools, cancel.
// The test starts it as `node node.js PORT` with the folder of its packages in NODE_PATH.
const assert = require("node:assert/strict");
const { Client, Pool } = require("pg");
const Cursor = require("pg-cursor");

const where = { host: "127.0.0.1", port: Number(process.argv[2]), user: "reader", database: "headframe" };
const START = new Date("2026-03-01T11:00:00Z");
const ENDLESS = "SELECT count(*) FROM generate_series(1, 100000000000)";

async function main() {
  const client = new Client(where);
  await client.connect();
  const row = async (sql, values) => (await client.query(sql, values)).rows[0];

  assert.deepEqual(await row("SELECT count(*), 1 FROM shares"), { count: "1000", "?column?": 1 });
  assert.deepEqual(
    await row("SELECT $1::int AS i, $2::text AS t, $3::timestamptz AS at, $4::bool AS b, $5::int[] AS l, $6::float8 AS f", [
      7, "it's ключ", START, true, [1, 2], 1.5,
    ]),
    { i: 7, t: "it's ключ", at: START, b: true, l: [1, 2], f: 1.5 },
  );
  const share = await row("SELECT * FROM shares WHERE producer_seq = $1", [7]);
  assert.deepEqual([share.event_time, share.miner, share.difficulty, share.network_difficulty, share.block_hash], [
    new Date(START.getTime() + 7000), "41", "1007", "9".repeat(38), null,
  ]);
  assert.equal((await row("SELECT count(*) FROM shares WHERE miner = ANY($1)", [["40", "41"]])).count, "667");
  assert.equal((await row("SELECT count(*) FROM shares WHERE event_time < $1", [new Date(START.getTime() + 5000)])).count, "5");

  for (let n = 0; n < 3; n++) {
    const answer = await client.query({ name: "by-number", text: "SELECT difficulty FROM shares WHERE producer_seq = $1", values: [n] });
    assert.equal(answer.rows[0].difficulty, String(1000 + n));
  }
  const arrays = await client.query({ text: "SELECT seq, seq FROM shares WHERE producer_seq = 0", rowMode: "array" });
  assert.deepEqual(arrays.fields.map((field) => field.name), ["seq", "seq"]);
  const binary = await client.query({ text: "SELECT 7::int4 AS n, true AS b", binary: true });
  assert.deepEqual(binary.rows[0], { n: 7, b: true });
  const two = await client.query("SELECT 1 AS a; SELECT 2 AS b");
  assert.deepEqual(two.map((answer) => answer.rows), [[{ a: 1 }], [{ b: 2 }]]);

  const cursor = client.query(new Cursor("SELECT producer_seq FROM shares ORDER BY producer_seq"));
  const seen = [];
  for (let rows = await cursor.read(100); rows.length > 0; rows = await cursor.read(100)) seen.push(...rows.map((found) => Number(found.producer_seq)));
  assert.deepEqual(seen, Array.from({ length: 1000 }, (_, n) => n));
  await cursor.close();

  await assert.rejects(client.query("SELECT 1 FROM nothing"), { code: "42P01" });
  await assert.rejects(client.query("DELETE FROM shares"), { code: "42501" });
  const { pid } = await row("SELECT pg_backend_pid() AS pid");
  assert.equal(pid, client.processID);
  const other = new Client(where);
  const ends = assert.rejects(client.query(ENDLESS), { code: "57014" });
  setTimeout(() => other.cancel(client, client.activeQuery ?? client._getActiveQuery()), 300);
  await ends;
  assert.deepEqual(await row("SELECT 1 AS one"), { one: 1 });
  await client.end();

  const pool = new Pool({ ...where, max: 4, statement_timeout: 30000, application_name: "pool" });
  const answers = await Promise.all(Array.from({ length: 20 }, () => pool.query("SELECT count(*) FROM shares WHERE seq > $1", [0])));
  assert.deepEqual(new Set(answers.map((answer) => answer.rows[0].count)), new Set(["1000"]));
  await pool.end();
  console.log("all values agree");
}

main();
