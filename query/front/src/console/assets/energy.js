// Energy of one site, pool or machine, and how much of its allocations is used.
import { ago, byId, h, json, open, setText, show, sql, watch } from "./console.js";
import { energy, moment, plain, power, seconds, DASH } from "./format.js";
import { timeChart } from "./chart.js";
import { barChart } from "./bars.js";
import { gauge, worst } from "./gauge.js";
import { fill } from "./table.js";
import { filters, options } from "./filters.js";

await open("/energy");
const KINDS = { site: "sites", pool: "pools", machine: "machines" };
const DAYS = 31;
let of = "site", id = "", zone = "UTC", running = [];

const lists = {};
async function listOf(kind) { return lists[kind] ??= (await json(`/api/v1/${kind}?limit=1000`))[kind]; }

const form = byId("whose");
const filter = filters(form, (values) => { choose(values).catch((error) => setText(byId("lede"), error.message)); });
await choose(filter.read());

async function choose(values) {
  const wanted = values.of || "site";
  const all = await listOf(KINDS[wanted]);
  options(form.elements.id, all.map((one) => [one.id, one.name && one.name !== one.id ? `${one.id} (${one.name})` : one.id]));
  const known = all.some((one) => one.id === values.id);
  // Unless one is named, the one that draws most.
  if (!known) {
    const { rows } = await json(`/api/v1/energy/current?of=${wanted}`);
    const most = rows.filter((row) => all.some((one) => one.id === row.id)).sort((row, other) => other.power_w - row.power_w)[0];
    form.elements.id.value = most?.id ?? all[0]?.id ?? "";
  }
  const chosen = form.elements.id.value;
  if (chosen === id && wanted === of && running.length) return;
  of = wanted; id = chosen;
  for (const one of running) one.stop();
  running = [];
  byId("allocations").replaceChildren();
  const resource = all.find((one) => one.id === id);
  const site = of === "site" ? resource : resource?.site && (await listOf("sites")).find((one) => one.id === resource.site);
  zone = site?.time_zone || "UTC";
  setText(byId("title"), id ? `Energy of ${id}` : "Energy");
  document.title = `${byId("title").textContent} · Headframe`;
  for (const name of ["power", "demand", "today", "forecast", "efficiency"]) show(`f-${name}`, { text: DASH, unit: "" });
  if (!id) { setText(byId("lede"), `No ${wanted} is registered yet; what meters send belongs to nobody.`); return; }
  byId("lede").replaceChildren(...["What its meters measure, by the registry’s word. ", h("a", { href: `/registry/${KINDS[of]}/${encodeURIComponent(id)}` }, `${of} ${id}`), ` · days of ${zone}`]);
  start(resource);
}

function start(resource) {
  const mine = { of, id };
  const isMine = () => mine.of === of && mine.id === id;
  const when = (run) => (answer) => { if (isMine()) return run(answer); };
  running.push(watch({
    every: 10, area: byId("figures-area"),
    ask: () => json(`/api/v1/energy/current?of=${of}`),
    show: when(showPower),
  }));
  running.push(watch({ every: 20, area: byId("allocations-area"), ask: () => json("/api/v1/energy/allocations"), show: when(({ rows }) => showAllocations(rows.filter((row) => row.subject_kind === of && row.subject === id))) }));
  running.push(watch({
    every: 60, area: null,
    ask: () => json(`/api/v1/energy/daily?${new URLSearchParams({ of, id, zone, from: today(), to: today() })}`),
    show: when(({ rows: [row] }) => show("f-today", energy(row?.energy_wh), row ? `${seconds(row.covered_s)} measured` : "nothing was measured")),
  }));
  if (of !== "machine") running.push(watch({ every: 60, area: null, ask: () => efficiency(resource), show: when(showEfficiency) }));
  else show("f-efficiency", { text: DASH, unit: "" }, "of pools and sites");
  running.push(timeChart(byId("power-area"), {
    path: "/api/v1/energy/power", query: { of, id }, noun: "Power", value: "power_w", format: power, every: 30,
    shown: (numbers) => setText(byId("power-note"), numbers.points.length ? `steps of ${seconds(numbers.step_s)}, UTC; where nothing was measured there is no line` : "nothing was measured"),
  }));
  const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit", day: "2-digit", month: "2-digit" });
  setText(byId("hours-note"), `last 24 hours, ${zone}; pale where not all was measured`);
  running.push(barChart(byId("hours-area"), { path: "/api/v1/energy/hourly", query: () => ({ of, id }), drawn: { zone }, noun: "Hour from", label: (row) => clock.format(new Date(row.from)) }));
  setText(byId("days-note"), `last ${DAYS} days, ${zone}`);
  running.push(barChart(byId("days-area"), { path: "/api/v1/energy/daily", query: () => ({ of, id, zone, from: today(1 - DAYS), to: today() }), drawn: {}, noun: "Day", label: (row) => row.from.slice(0, 10) }));
}

// The day that it is at the site, or so many later.
function today(days = 0) {
  return new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(new Date(Date.now() + days * 86400000));
}

function showPower({ rows }) {
  const own = rows.find((row) => row.id === id);
  const element = byId("f-power");
  if (own) {
    show("f-power", power(own.power_w));
    let note = element.querySelector("small");
    if (!note) element.append(note = h("small", {}));
    note.replaceChildren(ago(own.at, " old"), ` · ${own.meters} ${own.meters === 1 ? "meter" : "meters"}`);
    element.classList.toggle("old", own.age_s > 180);
  } else show("f-power", { text: DASH, unit: "" }, "nothing came for 15 minutes");
  const most = Math.max(...rows.map((row) => row.power_w), 1e-9);
  listOf(KINDS[of]).then((all) => {
    const ids = [...new Set([...all.map((one) => one.id), ...rows.map((row) => row.id)])];
    fill(byId("all"), [
      { name: of[0].toUpperCase() + of.slice(1), of: (row) => h("a", { href: `/energy?${new URLSearchParams({ of, id: row.id })}`, "aria-current": row.id === id ? "true" : null }, row.id) },
      { name: "Power", number: true, of: (row) => row.at ? plain(power(row.power_w)) : h("span", { class: "unknown" }, DASH) },
      { name: "Share", of: (row) => row.at ? h("progress", { class: "plain", max: 1, value: Math.max(0, row.power_w / most), "aria-label": "beside the largest" }) : "" },
      { name: "Meters", number: true, of: (row) => row.meters ?? "" },
      { name: "Age", of: (row) => row.at ? ago(row.at, "") : h("span", { class: "unknown" }, "over 15 min") },
    ], ids.map((one) => { const { age_s, ...row } = rows.find((other) => other.id === one) || { id: one }; return row; }), { empty: "None is registered." });
    setText(byId("all-title"), `All ${KINDS[of]}`);
  });
}

function showAllocations(rows) {
  const demand = rows.find((row) => row.demand_w !== null && row.demand_w !== undefined);
  const powered = rows.filter((row) => row.power_pct !== null && row.power_pct !== undefined).sort((one, other) => other.power_pct - one.power_pct)[0];
  show("f-demand", power(demand?.demand_w), powered ? `${powered.power_pct.toFixed(1)} % of ${plain(power(powered.power_limit_w))}` : rows.length ? "no limit of power" : "no allocation");
  const soonest = rows.map((row) => row.exhausted_at).filter(Boolean).sort()[0];
  byId("f-forecast").dataset.level = worst(rows.map((row) => row.energy_level));
  if (soonest) show("f-forecast", { text: moment(soonest).slice(5), unit: "" }, Date.parse(soonest) <= Date.now() ? "the energy is used up" : `in ${seconds((Date.parse(soonest) - Date.now()) / 1000)} at the usual power`);
  else show("f-forecast", { text: rows.length ? "not reached" : DASH, unit: "" }, rows.length ? "before the period ends" : "no allocation");
  const has = (value) => value !== null && value !== undefined;
  fill(byId("allocations"), [
    { name: "Allocation", of: (row) => row.allocation },
    { name: "Demand of 15 min", of: (row) => has(row.power_limit_w) ? gauge(row.power_pct, row.power_level) : h("span", { class: "unknown" }, "no limit") },
    { name: "Of limit", number: true, of: (row) => plain(power(row.power_limit_w)) },
    { name: "Energy of the period", of: (row) => has(row.energy_limit_wh) ? gauge(row.energy_pct, row.energy_level) : h("span", { class: "unknown" }, "no limit") },
    { name: "Used of limit", number: true, of: (row) => `${plain(energy(row.used_wh))} of ${plain(energy(row.energy_limit_wh))}` },
    { name: "Period ends", of: (row) => h("time", { datetime: row.period_end, title: moment(row.period_end) }, moment(row.period_end).slice(5)) },
    { name: "Limit reached at", of: (row) => row.exhausted_at ? h("strong", { title: moment(row.exhausted_at) }, moment(row.exhausted_at).slice(5)) : "not before" },
    { name: "Stated", of: (row) => ago(row.at) },
  ], rows, { empty: `Nothing is allocated to this ${of}. An allocation is registered under Registry, Allocations.` });
}

function efficiency(resource) {
  const pools = of === "pool" ? "pool = $1" : "pool IN (SELECT id FROM pools WHERE site = $1)";
  return sql(`SELECT sum(energy_wh) * 3600 * 1e12 / nullif(sum(CAST(accepted_difficulty AS DOUBLE)), 0) AS jth, count(DISTINCT pool) AS pools FROM pool_efficiency_1h WHERE window_start >= now() - INTERVAL '24 hours' AND accepted_difficulty IS NOT NULL AND ${pools}`, [resource.id]);
}

function showEfficiency({ rows: [row] }) {
  const value = row?.jth;
  const known = value !== null && value !== undefined;
  show("f-efficiency", known ? { text: value >= 1e6 ? value.toExponential(2) : value.toFixed(value >= 100 ? 0 : 1), unit: "J/TH" } : { text: DASH, unit: "" }, known ? (of === "site" ? `of ${row.pools} ${row.pools === 1 ? "pool" : "pools"}` : "by accepted shares") : "no accepted shares of it");
}
