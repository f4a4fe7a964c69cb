// Readings that are not what was expected: the list, and one of them with the readings around it.
import { ago, byId, h, json, open, setText, show, watch } from "./console.js";
import { count, day, plain, reading, seconds, unitOf, DASH } from "./format.js";
import { timeChart } from "./chart.js";
import { fill, tag } from "./table.js";
import { filters, options } from "./filters.js";

await open("/anomalies");
const WORDS = {
  clock: "the device’s clock is wrong", missing: "nothing comes any more", impossible: "the quantity cannot have this value", stuck: "the value does not vary any more",
  rating: "above what the maker rates", spike: "far from what was expected", step: "has moved to another level", drift: "moves away slowly",
};
const REASONS = { returned: "normal again", accepted: "lasted so long that it is the new normal", mode_changed: "the mode changed", restarted: "the detectors began anew" };

const stateOf = (row) => row.ended_at ? tag(`ended, ${REASONS[row.reason] || row.reason}`, "") : tag("▲ open", "bad");
const link = (row) => `/anomalies/one?${new URLSearchParams({ site: row.site, source: row.source, signal: row.signal, detector: row.detector, since: row.since })}`;
const write = (value, row) => plain(reading(value, unitOf(row.signal)));
const lasted = (row) => seconds(((row.ended_at ? Date.parse(row.ended_at) : Date.now()) - Date.parse(row.since)) / 1000);

const columns = [
  { name: "State", of: stateOf },
  { name: "Site", of: (row) => row.site },
  { name: "Signal", of: (row) => h("a", { href: link(row), class: "mono" }, row.signal) },
  { name: "Detector", of: (row) => h("span", { title: WORDS[row.detector] }, row.detector) },
  { name: "Seen", number: true, of: (row) => write(row.value, row) },
  { name: "Expected", number: true, of: (row) => write(row.expected, row) },
  { name: "Off by", number: true, of: (row) => row.deviation === null || row.deviation === undefined ? DASH : `${row.deviation > 0 ? "+" : ""}${write(row.deviation, row)}` },
  { name: "Since", of: (row) => ago(row.since) },
  { name: "Lasted", of: (row) => row.ended_at ? lasted(row) : "until now" },
  { name: "Score", number: true, of: (row) => row.score.toFixed(1) },
];

if (location.pathname === "/anomalies/one") showOne(); else showList();

function showList() {
  byId("list-view").hidden = false;
  options(byId("w-detector"), Object.keys(WORDS), "any");
  json("/api/v1/sites?limit=1000").then(({ sites }) => byId("sites").replaceChildren(...sites.map((site) => new Option(site.id, site.id)))).catch(() => null);
  let values = {}, watcher = null;
  const filter = filters(byId("filter"), (now) => { values = now; watcher?.now(); });
  values = filter.read();
  watcher = watch({
    every: 10, area: byId("list-area"),
    ask: () => {
      const { state, from, to, ...wanted } = values;
      if (state) wanted.open = state === "open";
      for (const [name, text] of [["from", from], ["to", to]]) if (text) wanted[name] = new Date(text).toISOString();
      return json(`/api/v1/anomalies?${new URLSearchParams({ ...wanted, limit: 500 })}`);
    },
    failed: (error) => fill(byId("list"), [{ name: "Nothing to show", wrap: true, of: (row) => row }], [`${error.message}. ${error.hint || ""}`]),
    show: ({ rows }) => {
      // What is open stands first, the farthest from its expectation before others.
      const sorted = [...rows].sort((one, other) => Boolean(one.ended_at) - Boolean(other.ended_at) || (one.ended_at ? Date.parse(other.found_at) - Date.parse(one.found_at) : other.score - one.score));
      const now = rows.filter((row) => !row.ended_at).length;
      setText(byId("list-note"), `${count(now)} open, ${count(rows.length - now)} ended${rows.length === 500 ? "; the newest 500" : ""}`);
      fill(byId("list"), columns, sorted, { empty: values.state === "open" ? "Every signal reads what is expected of it." : "No anomaly is like that." });
    },
  });
}

function showOne() {
  byId("one-view").hidden = false;
  const names = ["site", "source", "signal", "detector", "since"];
  const words = new URLSearchParams(location.search), query = Object.fromEntries(names.map((name) => [name, words.get(name) || ""]));
  setText(byId("title"), query.signal || "Anomaly");
  document.title = `${query.signal} · Anomalies`;
  byId("lede").replaceChildren(h("a", { href: "/anomalies" }, "Anomalies"), ` · ${query.site} · ${query.detector}: ${WORDS[query.detector] || ""}`);
  const unit = unitOf(query.signal);
  timeChart(byId("chart-area"), {
    path: "/api/v1/anomalies/readings", query, spans: [], noun: "Reading", value: "value", format: (value) => reading(value, unit), every: 20,
    shown: ({ anomaly }) => {
      const band = anomaly.lower === null || anomaly.lower === undefined ? "" : `normal from ${write(anomaly.lower, anomaly)} to ${write(anomaly.upper, anomaly)}`;
      show("f-value", reading(anomaly.value, unit), anomaly.deviation === null || anomaly.deviation === undefined ? (anomaly.detector === "missing" ? "nothing came" : null) : `${anomaly.deviation > 0 ? "+" : ""}${write(anomaly.deviation, anomaly)} from what was expected`);
      show("f-expected", reading(anomaly.expected, unit), band || "only limits are known");
      show("f-since", { text: day(anomaly.since).slice(5), unit: "" }, `${lasted(anomaly)}${anomaly.ended_at ? " long" : " ago"}, found ${day(anomaly.found_at).slice(5)}`);
      show("f-state", { text: anomaly.ended_at ? "ended" : "open", unit: "" }, anomaly.ended_at ? REASONS[anomaly.reason] : "since it was found");
      byId("f-state").dataset.level = anomaly.ended_at ? "" : "critical";
      show("f-score", { text: anomaly.score.toFixed(1), unit: "" }, "of its threshold, which is 1");
    },
  });
  watch({
    every: 30, area: byId("same-area"),
    ask: () => json(`/api/v1/anomalies?${new URLSearchParams({ site: query.site, source: query.source, signal: query.signal, limit: 50 })}`),
    show: ({ rows }) => fill(byId("same"), columns, rows.filter((row) => row.since !== query.since || row.detector !== query.detector), { empty: "There is no other." }),
  });
}
