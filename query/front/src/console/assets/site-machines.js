// The page of a site's machines: a map and a table, the worst first.
import { byId, h, json, open, setText, watch } from "./console.js";
import { count, seconds, DASH } from "./format.js";
import { PHASES, s, sign } from "./site-shape.js";
import { mono, tag, update } from "./table.js";

await open("/site/machines");

// The address keeps what is shown, so that a link leads to it.
const words = new URLSearchParams(location.search);
let wanted = words.get("state") || "", text = words.get("find") || "", all = [];
const SHOWN = 500, CELL = 18;

function keep() {
  const kept = new URLSearchParams();
  if (wanted) kept.set("state", wanted);
  if (text) kept.set("find", text);
  history.replaceState(null, "", `${location.pathname}${kept.size ? `?${kept}` : ""}`);
}

const ORDER = Object.keys(PHASES);
const isIll = (row) => row.is_failing || row.is_out_of_use;
const rank = (row) => (row.phase === "stuck" ? 0 : isIll(row) ? 1 : 2 + ORDER.indexOf(row.phase));
const holds = (row) => (!wanted || (wanted === "ill" ? isIll(row) : row.phase === wanted)) && (!text || [row.name, row.model, row.feeder].some((part) => part?.toLowerCase().includes(text.toLowerCase())));

function doing(row) {
  const parts = [sign(PHASES[row.phase] || ["warn", row.phase])];
  if (row.is_failing) parts.push(" ", tag("■ failing", "bad"));
  if (row.is_low && row.phase === "running") parts.push(" ", tag("low power", ""));
  if (row.is_out_of_use) parts.push(" ", tag("out of use", "warn"));
  return parts;
}

function draws(row) {
  if (row.power_w === null) return h("span", { class: "unknown" }, DASH);
  const old = row.power_age_s > 60 ? h("small", { class: "unknown" }, ` ${seconds(row.power_age_s)} old`) : "";
  return [`${count(Math.round(row.power_w))} W`, old];
}

const COLUMNS = [
  { name: "Machine", of: (row) => mono(row.name) },
  { name: "State", of: doing },
  { name: "For", number: true, of: (row) => row.since },
  { name: "Draws", number: true, of: draws },
  { name: "At work", number: true, of: (row) => `${count(Math.round(row.rated_w))} W` },
  { name: "Chip", number: true, of: (row) => row.chip_c === null ? DASH : `${row.chip_c.toFixed(0)} °C` },
  { name: "Hashrate at work", number: true, of: (row) => `${count(row.hashrate_ths)} TH/s` },
  { name: "J/TH", number: true, of: (row) => row.efficiency_j_th === null ? DASH : row.efficiency_j_th.toFixed(1) },
  { name: "Model", of: (row) => row.model || DASH },
  { name: "Feeder", of: (row) => row.feeder ?? DASH },
];

// ---- The map: a cell a machine, in the order of the plan --------------------------------------------------------

function cell(row, x, y) {
  const inner = { x: x + 2, y: y + 2, width: CELL - 4, height: CELL - 4, rx: 2 }, kind = row.phase === "stuck" || row.is_failing ? "bad" : row.phase === "lowering" || row.phase === "raising" ? "running" : row.phase;
  const half = row.phase === "starting" || row.phase === "stopping" ? s("rect", { class: "half", x: inner.x, y: row.phase === "starting" ? y + CELL / 2 : inner.y, width: inner.width, height: inner.height / 2 }) : null;
  const mark = kind === "bad" ? "×" : row.phase === "unknown" ? "?" : null;
  return s("g", { class: `cell ${kind}${holds(row) ? "" : " other"}` }, s("title", {}, `${row.name}: ${PHASES[row.phase]?.[1] ?? row.phase}, ${row.power_w === null ? "watts not read" : `${Math.round(row.power_w)} W`}`), s("rect", inner), half,
    mark ? s("text", { x: x + CELL / 2, y: y + CELL / 2 + 4, "text-anchor": "middle" }, mark) : null);
}

function map() {
  const figure = byId("map"), width = Math.max(240, Math.round(figure.clientWidth)), row = Math.floor(width / CELL);
  const signature = JSON.stringify([width, wanted, text, all.map((one) => [one.phase, one.is_failing, Math.round((one.power_w ?? -100) / 100)])]);
  if (figure.dataset.drawn === signature) return;
  figure.dataset.drawn = signature;
  const height = Math.max(1, Math.ceil(all.length / row)) * CELL;
  figure.replaceChildren(s("svg", { width, height, role: "img", "aria-label": "A cell for each machine in the order of the plan; the table below says the same." }, all.map((one, at) => cell(one, (at % row) * CELL, Math.floor(at / row) * CELL))));
}

// ---- What is shown -----------------------------------------------------------------------------------------------

function choices() {
  const numbers = new Map([["", all.length], ...ORDER.map((phase) => [phase, all.filter((row) => row.phase === phase).length]), ["ill", all.filter(isIll).length]]);
  const entries = [...numbers].filter(([name, number]) => name === "" || number || name === wanted);
  const signature = JSON.stringify([entries, wanted]), bar = byId("states");
  if (bar.dataset.rows === signature) return;
  bar.dataset.rows = signature;
  const focused = document.activeElement?.dataset?.state;
  bar.replaceChildren(...entries.map(([name, number]) => h("button", { type: "button", "data-state": name, "aria-pressed": String(name === wanted), on: { click: () => { wanted = name; keep(); put(); } } }, `${name === "" ? "all" : name === "ill" ? "failing" : PHASES[name][1]} ${count(number)}`)));
  if (focused !== undefined) [...bar.children].find((button) => button.dataset.state === focused)?.focus();
}

function put() {
  const rows = all.filter(holds).sort((one, other) => rank(one) - rank(other) || one.name.localeCompare(other.name, "en", { numeric: true }));
  choices();
  map();
  setText(byId("machines-note"), `${count(rows.length)} of ${count(all.length)}`);
  update(byId("machines"), COLUMNS, rows.slice(0, SHOWN).map((row) => ({ ...row, since: seconds(row.since_s), since_s: null, power_age_s: row.power_age_s > 60 ? row.power_age_s : 0 })), { key: (row) => row.name, empty: all.length ? "No machine is so." : "The plan has no machine." });
  setText(byId("machines-rest"), rows.length > SHOWN ? `The first ${count(SHOWN)} are listed; a filter shows others.` : "");
}

byId("find").value = text;
byId("find").addEventListener("input", () => { text = byId("find").value.trim(); keep(); put(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, textarea, select")) { event.preventDefault(); byId("find").focus(); }
});
new ResizeObserver(() => all.length && map()).observe(byId("map"));

watch({
  every: 2, area: byId("machines-area"), ask: () => json("/api/v1/site/machines"),
  failed: (error) => setText(byId("machines-lede"), `${error.message}. ${error.hint || ""}`),
  show: ({ machines }) => { all = machines; put(); },
});
