// The controllers of sites: what each wrote last, and the way to its own pages, where the emergency stop is. Nothing is
// asked of a controller from here.
import { ago, byId, h, sql, watch } from "./console.js";
import { moment, plain, power, DASH } from "./format.js";
import { sign, STATES } from "./site-shape.js";
import { fill, outside, tag } from "./table.js";

// A controller writes a decision once a minute, if nothing happens; without one for so long it is silent.
const SILENT_MS = 5 * 60000;
const DECISIONS = "SELECT site, event_time, state, target_kw, measured_kw, is_estimated, reason FROM (SELECT site, event_time, state, target_kw, measured_kw, is_estimated, reason, row_number() OVER (PARTITION BY site ORDER BY event_time DESC, seq DESC) AS place FROM curtailment WHERE event_time >= now() - INTERVAL '1 day') WHERE place = 1";
// Each request of the newest reading of each signal is a row.
const SIGNALS = "SELECT site, signal, level, cap_kw, starts_at, ends_at, reason FROM (SELECT site, signal, level, cap_kw, starts_at, ends_at, reason, rank() OVER (PARTITION BY site, signal ORDER BY event_time DESC) AS place FROM signals WHERE event_time >= now() - INTERVAL '1 hour') WHERE place = 1 ORDER BY signal";
const LEVELS = { emergency: "bad", curtail: "warn", advisory: "warn", unknown: "warn" };

let sites = [], decisions = [], signals = [], watcher = null;
const kilowatts = (kw) => plain(power(kw * 1000));

// Shows those of these sites that name one.
export function showControllers(registered) {
  sites = registered.filter((site) => site.controller);
  byId("controllers-area").hidden = !sites.length;
  if (sites.length) {
    watcher ??= watch({ every: 20, area: byId("controllers-area"), ask: () => Promise.all([sql(DECISIONS), sql(SIGNALS)]), show: ([of, say]) => { decisions = of.rows; signals = say.rows; draw(); } });
  }
  draw();
}

function draw() {
  const rows = sites.map((site) => {
    const last = decisions.find((row) => row.site === site.id) ?? null;
    const requests = signals.filter((row) => row.site === site.id && !(row.ends_at && Date.parse(row.ends_at) < Date.now()));
    return { id: site.id, name: site.name || site.id, controller: site.controller, last, requests, isSilent: last !== null && Date.now() - Date.parse(last.event_time) > SILENT_MS };
  });
  fill(byId("controllers"), columns, rows, { empty: "No site names its controller." });
}

const unknown = () => h("span", { class: "unknown" }, DASH);

const columns = [
  { name: "Site", of: (row) => row.name },
  { name: "State", of: ({ last }) => last ? sign(STATES[last.state] || ["warn", last.state]) : unknown() },
  { name: "Target", number: true, of: ({ last }) => last ? kilowatts(last.target_kw) : unknown() },
  { name: "Power", number: true, of: ({ last }) => last ? [kilowatts(last.measured_kw), last.is_estimated ? " " : "", last.is_estimated ? tag("estimated", "warn") : ""] : unknown() },
  { name: "Signals", wrap: true, of: ({ requests }) => requests.length ? requests.flatMap((request, at) => [at ? ", " : "", asked(request)]) : unknown() },
  { name: "Why", wrap: true, of: ({ last }) => last ? last.reason : "nothing came for a day" },
  { name: "Age", of: ({ last, isSilent }) => last ? [ago(last.event_time, ""), isSilent ? " " : "", isSilent ? tag("△ silent", "warn") : ""] : unknown() },
  { name: "", of: (row) => outside(row.controller, "Controller and emergency stop", `Controller and emergency stop of ${row.name}`) },
];

function asked({ signal, level, cap_kw, starts_at, reason }) {
  const cap = cap_kw === null || cap_kw === undefined ? "" : ` to ${kilowatts(cap_kw)}`;
  const start = starts_at && Date.parse(starts_at) > Date.now() ? ` from ${moment(starts_at)}` : "";
  const text = `${signal}: ${level === "unknown" ? "not known" : level}${cap}${start}`;
  return LEVELS[level] ? h("span", { class: "tag", "data-state": LEVELS[level], title: reason }, text) : text;
}
