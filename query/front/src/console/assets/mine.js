// The mine at a glance.
import { ago, byId, h, json, open, setText, show, sql, watch } from "./console.js";
import { count, hashrate, moment, plain, power, reading, seconds, unitOf, DASH } from "./format.js";
import { gauge } from "./gauge.js";
import { showControllers } from "./mine-controllers.js";
import { fill, tag } from "./table.js";

await open("/mine");
const found = { allocations: [], anomalies: [], violations: [], sources: [], due: [], sites: [], pools: [], machines: null, site: [], pool: [] };
const has = (value) => value !== null && value !== undefined;

// What is asked for once by everything that needs it.
function part(every, area, ask, put, failed) {
  watch({ every, area: area && byId(area), ask, failed, show: (answer) => { put(answer); attention(); tables(); } });
}

part(10, "figures-area", () => json("/api/v1/energy/current?of=site"), ({ rows }) => { found.site = rows; showPower(); });

// The sites come by another route than their power.
function showPower() {
  const rows = found.site, all = Math.max(found.sites.length, rows.length);
  const connected = found.sites.reduce((sum, one) => sum + (one.connection_kw || 0), 0) * 1000;
  show("f-power", rows.length ? power(rows.reduce((sum, row) => sum + row.power_w, 0)) : { text: DASH, unit: "" }, rows.length ? `${rows.length} of ${all} ${all === 1 ? "site" : "sites"}${connected ? ` · ${plain(power(connected))} connected` : ""}` : "nothing came for 15 minutes");
  const newest = rows.map((row) => row.at).sort().at(-1);
  byId("f-age").classList.toggle("unknown", !newest);
  byId("f-age").replaceChildren(newest ? ago(newest, "") : DASH, h("small", {}, newest ? "ago, of a site’s power" : "no power of the last 15 minutes"));
}

part(15, null, () => json("/api/v1/energy/current?of=pool"), ({ rows }) => { found.pool = rows; });

part(20, null, () => json("/api/v1/energy/allocations"), ({ rows }) => {
  found.allocations = rows;
  const most = rows.flatMap((row) => [[row.power_pct, row.power_level, "power", row], [row.energy_pct, row.energy_level, "energy", row]]).filter(([percent]) => has(percent)).sort((one, other) => other[0] - one[0])[0];
  show("f-allocation", most ? { text: most[0].toFixed(1), unit: "%" } : { text: DASH, unit: "" }, most ? `${most[2]} of ${most[3].subject}` : "nothing is allocated");
  byId("f-allocation").dataset.level = most?.[1] || "";
});

part(10, null, () => json("/api/v1/pool"), ({ pools }) => {
  const sum = (name) => pools.some((pool) => has(pool[name])) ? pools.reduce((all, pool) => all + (pool[name] || 0), 0) : null;
  show("f-hashrate", hashrate(sum("hashrate_hs")), pools.length ? `24 h ${plain(hashrate(sum("hashrate_24h_hs")))} · ${count(sum("workers"))} ${sum("workers") === 1 ? "worker" : "workers"}` : "no share has come yet");
  found.hashrates = pools;
}, () => null);

part(60, null, () => sql("SELECT sum(energy_wh) * 3600 * 1e12 / nullif(sum(CAST(accepted_difficulty AS DOUBLE)), 0) AS jth FROM pool_efficiency_1h WHERE window_start >= now() - INTERVAL '24 hours' AND accepted_difficulty IS NOT NULL"), ({ rows: [row] }) => {
  show("f-efficiency", has(row?.jth) ? { text: row.jth >= 1e6 ? row.jth.toExponential(2) : row.jth.toFixed(row.jth >= 100 ? 0 : 1), unit: "J/TH" } : { text: DASH, unit: "" }, has(row?.jth) ? "by accepted shares" : "no pool has both");
});

part(10, null, () => json("/api/v1/anomalies?open=true&limit=200"), ({ rows }) => {
  found.anomalies = rows;
  show("f-anomalies", { text: count(rows.length), unit: "" }, rows.length ? `newest ${seconds((Date.now() - Date.parse(rows[0].found_at)) / 1000)} ago` : "all reads as expected");
  byId("f-anomalies").dataset.level = rows.length ? "warning" : "";
});

// Where rules are not a kind of the registry, nothing watches any.
const { kinds } = await json("/api/v1/registry/kinds").catch(() => ({ kinds: [] }));
const watchesRules = kinds.some((kind) => kind.kind === "rules");
part(15, null, async () => watchesRules ? (await json("/api/v1/violations?limit=1000")).rows : null, (all) => {
  const rows = (all || []).filter((row) => ["detected", "open", "acknowledged", "in_remediation"].includes(row.status));
  found.violations = rows.filter((row) => row.status !== "detected");
  const critical = found.violations.filter((row) => row.severity === "critical").length;
  const late = found.violations.filter((row) => isLate(row)).length;
  show("f-violations", all === null ? { text: DASH, unit: "" } : { text: count(found.violations.length), unit: "" }, all === null ? "this server watches no rules" : found.violations.length ? [critical ? `${critical} critical` : null, late ? `${late} late` : null].filter(Boolean).join(" · ") || "none critical, none late" : "no rule is violated");
  byId("f-violations").dataset.level = critical || late ? "critical" : found.violations.length ? "warning" : "";
});

const isLate = (row) => [row.acknowledged_at ? null : row.acknowledge_due_at, row.resolved_at ? null : row.resolve_due_at].some((due) => due && Date.parse(due) < Date.now());

part(20, null, () => sql("SELECT site, source, kind, state, since, reason FROM (SELECT *, row_number() OVER (PARTITION BY site, source ORDER BY event_time DESC, seq DESC) AS place FROM source_health WHERE event_time >= now() - INTERVAL '2 days') WHERE place = 1"), ({ rows }) => {
  found.sources = rows;
  const well = rows.filter((row) => row.state === "fresh").length;
  show("f-sources", rows.length ? { text: `${well} of ${rows.length}`, unit: "" } : { text: DASH, unit: "" }, rows.length ? (well === rows.length ? "all fresh" : `${rows.length - well} not fresh`) : "no device is read here");
  byId("f-sources").dataset.level = well < rows.length ? "warning" : "";
});

part(60, "sites-area", async () => {
  const [sites, pools, machines, due] = await Promise.all([
    json("/api/v1/sites?limit=1000"), json("/api/v1/pools?limit=1000"),
    sql("SELECT site, count(*) AS machines, sum(CASE WHEN status = 'active' THEN 1 ELSE 0 END) AS active FROM machines GROUP BY site"),
    sql("SELECT 'meters' AS kind, id, 'its calibration is due' AS what, calibration_due_at AS due_at FROM meters WHERE calibration_due_at < now() + INTERVAL '30 days' UNION ALL SELECT 'operators', id, 'its licence ends', licence_valid_to FROM operators WHERE licence_valid_to < now() + INTERVAL '30 days' UNION ALL SELECT 'inspections', id, 'it is planned', planned_at FROM inspections WHERE status = 'planned' AND planned_at < now() + INTERVAL '7 days'"),
  ]);
  return { sites: sites.sites, pools: pools.pools, machines: machines.rows, due: due.rows };
}, (answer) => {
  Object.assign(found, answer);
  showPower();
  showControllers(answer.sites);
  const machines = answer.machines.reduce((all, row) => all + row.machines, 0);
  const one = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;
  setText(byId("lede"), answer.sites.length ? `${one(answer.sites.length, "site")}, ${one(answer.pools.length, "pool")}, ${one(machines, "machine")}.` : "Nothing is registered yet: begin with an operator and a site under Registry.");
});

// Everything that is not as it should be, in one list.
function attention() {
  const lines = [];
  const add = (weight, state, word, what, where, since, href) => lines.push({ weight, state, word, what, where, since, href });
  for (const row of found.violations) {
    const weight = { critical: 50, high: 40, medium: 25, low: 15 }[row.severity] || 10;
    add(weight + (isLate(row) ? 5 : 0), ["critical", "high"].includes(row.severity) ? "bad" : "warn", row.severity, `${row.type.replaceAll("_", " ").toLowerCase()}${isLate(row) ? ", late" : ""}`, row.subject, row.since, `/compliance/${encodeURIComponent(row.violation)}`);
  }
  for (const row of found.allocations) {
    for (const [level, percent, what] of [[row.power_level, row.power_pct, "power"], [row.energy_level, row.energy_pct, "energy"]]) {
      if (level !== "warning" && level !== "critical") continue;
      const end = what === "energy" && row.exhausted_at ? `, used up at ${moment(row.exhausted_at)}` : "";
      add(level === "critical" ? 38 : 22, level === "critical" ? "bad" : "warn", level, `${percent.toFixed(1)} % of its ${what}${end}`, row.subject, row.at, `/energy?${new URLSearchParams({ of: row.subject_kind === "operator" ? "site" : row.subject_kind, id: row.subject })}`);
    }
  }
  for (const row of found.anomalies) {
    const unit = unitOf(row.signal);
    add(20 + Math.min(row.score, 15), "warn", row.detector, `${row.signal}: ${plain(reading(row.value, unit))}${has(row.expected) ? `, expected ${plain(reading(row.expected, unit))}` : ""}`, row.site, row.since, `/anomalies/one?${new URLSearchParams({ site: row.site, source: row.source, signal: row.signal, detector: row.detector, since: row.since })}`);
  }
  for (const row of found.sources.filter((one) => one.state !== "fresh")) add(row.state === "failed" ? 30 : 18, row.state === "failed" ? "bad" : "warn", row.state, `${row.kind} ${row.source}${row.reason ? `: ${row.reason}` : ""}`, row.site, row.since, null);
  for (const row of found.due) {
    const isPast = Date.parse(row.due_at) < Date.now();
    add(isPast ? 16 : 5, isPast ? "warn" : "", isPast ? "overdue" : "soon", `${row.what}, ${moment(row.due_at)}`, row.id, row.due_at, `/registry/${row.kind}/${encodeURIComponent(row.id)}`);
  }
  lines.sort((one, other) => other.weight - one.weight || String(one.what).localeCompare(other.what));
  setText(byId("attention-note"), lines.length > 25 ? `the worst 25 of ${lines.length}` : "the worst first");
  fill(byId("attention"), [
    { name: "State", of: (row) => tag(`${{ bad: "▲ ", warn: "△ " }[row.state] || ""}${row.word}`, row.state) },
    { name: "What", wrap: true, of: (row) => row.href ? h("a", { href: row.href }, row.what) : row.what },
    { name: "Where", of: (row) => row.where },
    { name: "Since", of: (row) => Date.parse(row.since) > Date.now() ? `in ${seconds((Date.parse(row.since) - Date.now()) / 1000)}` : ago(row.since) },
  ], lines.slice(0, 25), { empty: "Nothing: every allocation, signal and device is as it should be." });
}

function tables() {
  const of = (rows, id) => rows.find((row) => row.id === id);
  const use = (kind, id) => found.allocations.find((row) => row.subject_kind === kind && row.subject === id);
  const now = (row) => row ? plain(power(row.power_w)) : h("span", { class: "unknown" }, DASH);
  const age = (row) => row ? ago(row.at, "") : h("span", { class: "unknown" }, "over 15 min");
  const bars = (row) => row ? gauge(has(row.power_pct) && !(row.energy_pct > row.power_pct) ? row.power_pct : row.energy_pct, has(row.power_pct) && !(row.energy_pct > row.power_pct) ? row.power_level : row.energy_level) : h("span", { class: "unknown" }, "none");
  fill(byId("sites"), [
    { name: "Site", of: (row) => h("a", { href: `/energy?${new URLSearchParams({ id: row.id })}` }, row.name || row.id) },
    { name: "Power", number: true, of: (row) => now(row.now) },
    { name: "Connection", number: true, of: (row) => row.connection_kw ? plain(power(row.connection_kw * 1000)) : DASH },
    { name: "Allocation", of: (row) => bars(row.use) },
    { name: "Anomalies", number: true, of: (row) => row.anomalies ? h("a", { href: `/anomalies?${new URLSearchParams({ site: row.id })}` }, `▲ ${count(row.anomalies)}`) : "0" },
    { name: "Machines", number: true, of: (row) => row.machines ? `${count(row.machines.active)} of ${count(row.machines.machines)} active` : "0" },
    { name: "Age", of: (row) => age(row.now) },
  ], found.sites.map((site) => ({ id: site.id, name: site.name, connection_kw: site.connection_kw, now: without(of(found.site, site.id)), use: use("site", site.id), anomalies: found.anomalies.filter((row) => row.site === site.id).length, machines: found.machines?.find((row) => row.site === site.id) })), { empty: "No site is registered yet." });
  fill(byId("pools"), [
    { name: "Pool", of: (row) => h("a", { href: `/energy?${new URLSearchParams({ of: "pool", id: row.id })}` }, row.name || row.id) },
    { name: "Power", number: true, of: (row) => now(row.now) },
    { name: "Limit", number: true, of: (row) => has(row.power_limit_kw) ? plain(power(row.power_limit_kw * 1000)) : DASH },
    { name: "Most used", of: (row) => bars(row.use) },
    { name: "Hashrate", number: true, of: (row) => plain(hashrate(row.hashrate_hs)) },
    { name: "Age", of: (row) => age(row.now) },
  ], found.pools.map((pool) => ({ id: pool.id, name: pool.name, power_limit_kw: pool.power_limit_kw, now: without(of(found.pool, pool.id)), use: use("pool", pool.id), hashrate_hs: found.hashrates?.find((one) => one.pool === pool.id)?.hashrate_hs ?? null })), { empty: "No pool is registered yet." });
}

// The age of a row goes on by itself.
function without(row) { if (!row) return null; const { age_s, ...rest } = row; return rest; }
