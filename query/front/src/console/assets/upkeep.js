// How far pipelines are, and what the tables hold and when they were looked after: what the metrics and readiness say.
import { ago, byId, h } from "./console.js";
import { count, plain, withUnit, DASH } from "./format.js";
import { mono, tag, update } from "./table.js";

// The values of one metric by the text of one label; a metric without labels has one, by an empty text.
function byLabel(metrics, name, label) {
  const found = new Map();
  for (const [key, value] of metrics) {
    if (key === name) found.set("", value);
    else if (key.startsWith(`${name}{`)) found.set(new RegExp(`\\b${label}="([^"]*)"`).exec(key)?.[1] ?? "", value);
  }
  return found;
}

const KINDS = [
  { name: "headframe_rollup_offset", label: "table", kind: "windows", lag: "headframe_rollup_lag" },
  { name: "headframe_pipeline_offset", label: "pipeline", kind: "of your own", lag: "headframe_pipeline_lag" },
  { name: "headframe_payouts_offset", label: "", kind: "money", of: "payouts" },
  { name: "headframe_anomalies_offset", label: "table", kind: "anomalies" },
];

const when = (second) => second ? ago(new Date(second * 1000).toISOString()) : h("span", { class: "unknown" }, DASH);

// `rates` has messages a second by the metric's line; `faults` is what readiness says of the pipelines that stopped.
export function showPipelines(metrics, rates, faults) {
  const committed = byLabel(metrics, "headframe_commit_time_seconds", "table"), refused = byLabel(metrics, "headframe_pipeline_refused_rows_total", "pipeline");
  const rows = KINDS.flatMap(({ name, label, kind, lag, of }) => {
    const lags = lag ? byLabel(metrics, lag, label) : new Map();
    return [...byLabel(metrics, name, label)].map(([key, offset]) => ({
      name: key || of, kind, offset, lag: lags.get(key) ?? null, rate: rates.get(key ? `${name}{${label}="${key}"}` : name) ?? null,
      refused: kind === "of your own" ? refused.get(key) ?? 0 : null, at: kind === "anomalies" ? null : committed.get(key || of) ?? null,
    }));
  });
  update(byId("pipelines"), [
    { name: "Pipeline", of: (row) => mono(row.name) },
    { name: "Makes", of: (row) => row.kind },
    { name: "Offset", number: true, of: (row) => count(row.offset) },
    { name: "Lag", number: true, of: (row) => row.lag === null ? DASH : row.lag ? tag(`${count(row.lag)} messages`, "warn") : tag("none", "good") },
    { name: "Messages/s", number: true, of: (row) => row.rate === null || Number.isNaN(row.rate) ? DASH : row.rate.toFixed(1) },
    { name: "Rows refused", number: true, of: (row) => row.refused === null ? DASH : row.refused ? tag(count(row.refused), "warn") : "0" },
    { name: "Last commit", of: (row) => when(row.at) },
  ], rows, { key: (row) => `${row.kind} ${row.name}`, empty: "This process runs no pipelines." });
  told("pipelines-words", faults);
}

function told(id, faults) {
  const sentences = faults && faults !== "ok" ? String(faults).split("; ") : [];
  if (byId(id).dataset.rows === sentences.join()) return;
  byId(id).dataset.rows = sentences.join();
  byId(id).replaceChildren(...sentences.map((sentence) => h("p", { class: "notice", "data-state": "bad" }, sentence)));
}

export function showStorage(metrics, faults) {
  const of = (name) => byLabel(metrics, `headframe_table_${name}`, "table");
  const files = of("files"), bytes = of("bytes"), rewritten = of("rewrite_time_seconds"), looked = of("upkeep_time_seconds"), failing = of("upkeep_failing");
  const rows = [...files].map(([table, number]) => ({ table, files: number, bytes: bytes.get(table) ?? null, rewritten: rewritten.get(table) || null, looked: looked.get(table) || null, failing: failing.get(table) || 0 }));
  rows.sort((one, other) => other.bytes - one.bytes);
  update(byId("storage"), [
    { name: "Table", of: (row) => mono(row.table) },
    { name: "State", of: (row) => row.failing ? tag("▲ fails, tried again", "bad") : tag("well", "good") },
    { name: "Size", number: true, of: (row) => plain(withUnit(row.bytes, "B")) },
    { name: "Files", number: true, of: (row) => count(row.files) },
    { name: "Last rewritten", of: (row) => when(row.rewritten) },
    { name: "Looked after", of: (row) => when(row.looked) },
  ], rows, { key: (row) => row.table, empty: "This process looks after no tables." });
  const size = rows.reduce((all, row) => all + (row.bytes || 0), 0);
  byId("storage-note").textContent = rows.length ? `${count(rows.length)} tables, ${plain(withUnit(size, "B"))} in all` : "";
  told("storage-words", faults);
}

// How many processes run typed statements, how long they may have taken to start, and why others ended.
export function workersNote(metrics) {
  const ended = [...byLabel(metrics, "headframe_sql_worker_restarts_total", "reason")].filter(([, times]) => times);
  const parts = [`${count(metrics.get("headframe_sql_workers"))} SQL workers`];
  if (ended.length) parts.push(`restarted ${ended.map(([reason, times]) => `${count(times)} × ${reason.replaceAll("_", " ")}`).join(", ")}`);
  return parts.join(", ");
}
