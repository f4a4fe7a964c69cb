// The page of what was decided, and why.
import { byId, h, json, open, setText, watch } from "./console.js";
import { count, day, seconds, DASH } from "./format.js";
import { AIR, AUTHORITY, LEVELS, STATES, kw, sign } from "./site-shape.js";
import { capColumns, caps } from "./site-why.js";
import { fill, mono, numbered, update } from "./table.js";

await open("/site/decisions");
let all = [];

const NAMES = { power: STATES, thermal: AIR, authority: AUTHORITY };
const changesOf = ({ before, after }) => Object.keys(NAMES).filter((region) => before[region] !== after[region]);

function changed(row) {
  const parts = changesOf(row).map((region) => {
    const name = (value) => NAMES[region][value]?.[1] ?? value, kind = NAMES[region][row.after[region]]?.[0] ?? "";
    return h("div", {}, sign([kind, `${name(row.before[region])} → ${name(row.after[region])}`]));
  });
  return parts.length ? parts : h("span", { class: "unknown" }, "no change of state");
}

const COLUMNS = [
  { name: "When", of: (row) => day(row.at.utc_us / 1000) + `:${String(new Date(row.at.utc_us / 1000).getSeconds()).padStart(2, "0")}` },
  { name: "Decision", of: (row) => h("button", { type: "button", class: "small", "aria-label": `Why decision ${row.number}`, on: { click: () => explain(row) } }, numbered(row.number)) },
  { name: "State", of: changed },
  { name: "Power", number: true, of: (row) => `${kw(row.measured_kw)} kW` },
  { name: "Target", number: true, of: (row) => `${kw(row.verdict.target_kw)} kW` },
  { name: "Who decided", of: (row) => { const cap = row.caps[row.verdict.winner]; return cap ? LEVELS[cap.level] : DASH; } },
  { name: "Commands", number: true, of: (row) => row.simulated.length ? `${count(row.simulated.length)} simulated` : count(row.commands.length) },
  { name: "Reason", wrap: true, of: (row) => row.reason },
];

function explain(row) {
  byId("one-area").hidden = false;
  byId("one-title").textContent = `Decision ${row.number}, ${day(row.at.utc_us / 1000)}`;
  byId("one-reason").textContent = row.reason;
  const losers = row.verdict.losers.map((at) => row.caps[at]).filter(Boolean), others = row.caps.filter((cap) => cap.scope !== "site").map((cap) => ({ ...cap, wins: false }));
  fill(byId("one-caps"), capColumns, [...caps(row.caps[row.verdict.winner], losers), ...others]);
  fill(byId("one-inputs"), [
    { name: "Input", of: (one) => mono(one.source) },
    { name: "Value", number: true, of: (one) => one.value === null ? DASH : one.value.toFixed(2) },
    { name: "Read before", number: true, of: (one) => seconds((row.at.elapsed_ms - one.at_ms) / 1000) },
  ], row.inputs, { empty: "Nothing had been read." });
  byId("one-area").scrollIntoView({ block: "nearest" });
  byId("one-close").focus();
}

function put() {
  const rows = byId("only-changes").checked ? all.filter((row) => changesOf(row).length) : all;
  setText(byId("decisions-note"), `${count(rows.length)} of ${count(all.length)} kept`);
  update(byId("decisions"), COLUMNS, rows, { key: (row) => row.number, empty: "Nothing changed since the start." });
}

byId("only-changes").addEventListener("change", put);
byId("one-close").addEventListener("click", () => { byId("one-area").hidden = true; byId("decisions-title").scrollIntoView({ block: "nearest" }); });

watch({
  every: 3, area: byId("decisions-area"), ask: () => json("/api/v1/site/decisions"),
  failed: (error) => setText(byId("decisions-lede"), `${error.message}. ${error.hint || ""}`),
  show: ({ decisions }) => { all = decisions; put(); },
});
