// The page of the latest jobs and their leases.
import { byId, h, json, open, setText, watch } from "./console.js";
import { count, percent, plain, seconds, withUnit, DASH } from "./format.js";
import { mono, numbered, tag, update } from "./table.js";

await open("/jobs");
const SHOWN = 200;

const hex = (nonce) => mono(nonce.toString(16).padStart(8, "0"));

function part(lease) {
  return [h("progress", { max: 1, value: lease.len ? lease.searched / lease.len : 0, "aria-label": "searched" }), percent(lease.len ? lease.searched / lease.len : null)];
}

watch({
  every: 2, area: byId("jobs-area"), ask: () => json("/api/jobs"),
  failed: (error) => setText(byId("jobs-note"), `${error.message}. ${error.hint || ""}`),
  show: ({ jobs }) => {
    update(byId("jobs"), [
      { name: "Job", of: (row) => numbered(row.id) },
      { name: "Came", of: (row) => `${seconds(row.age_s)} ago` },
      { name: "State", of: (row) => row.current ? tag("mined now", "good") : tag("replaced", "") },
      { name: "The pool’s name", of: (row) => mono(row.pool_job_id) },
      { name: "Algorithm", of: (row) => mono(row.algo) },
      { name: "Height", number: true, of: (row) => count(row.height) },
      { name: "Difficulty", number: true, of: (row) => plain(withUnit(row.difficulty, "")) },
      { name: "For", of: (row) => row.only_for ? mono(row.only_for) : "all workers" },
      { name: "Leased", number: true, of: (row) => count(row.leases.length) },
      { name: "Nonces left", number: true, of: (row) => plain(withUnit(row.unleased, "")) },
    ], jobs, { key: (row) => row.id, empty: "The pool has given no job yet." });
    const leases = jobs.filter((job) => job.current).flatMap((job) => job.leases.map((lease) => ({ ...lease, job: job.id })));
    leases.sort((one, other) => other.epoch - one.epoch);
    update(byId("leases"), [
      { name: "Lease", of: (row) => numbered(row.epoch) },
      { name: "Job", of: (row) => numbered(row.job) },
      { name: "Worker", of: (row) => row.worker ? mono(row.worker) : DASH },
      { name: "First nonce", of: (row) => hex(row.start) },
      { name: "Nonces", number: true, of: (row) => count(row.len) },
      { name: "Searched", of: part },
    ], leases.slice(0, SHOWN), { key: (row) => row.epoch, empty: "Nobody has a lease now." });
  },
});
