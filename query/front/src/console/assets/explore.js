// The page that runs SQL.
import { byId, copyButton, h, keepUp, open, remember, remembered, request, say, setText, sql, watch, watchServer } from "./console.js";
import { count, seconds } from "./format.js";
import { makeEditor } from "./editor.js";
import { subscribe } from "./subscribe.js";

const EXAMPLES = [
  ["Shares of the last hour, by worker", "SELECT worker, outcome, count(*) AS shares, sum(difficulty) AS work\nFROM shares\nWHERE event_time > now() - INTERVAL '1 hour'\nGROUP BY worker, outcome\nORDER BY work DESC\nLIMIT 100"],
  ["Hashrate by the minute", "SELECT window_start, hashrate_hs\nFROM pool_hashrate_1m\nORDER BY window_start DESC\nLIMIT 120"],
  ["Blocks and what became of them", "SELECT height, hash, status, event_time, reward_atomic\nFROM blocks\nORDER BY event_time DESC\nLIMIT 50"],
  ["Who asked for what of late", "SELECT principal, route, sum(requests) AS requests, max(duration_ms) AS slowest_ms\nFROM requests\nGROUP BY principal, route\nORDER BY requests DESC\nLIMIT 20"],
];
const KEPT = 30, SHOWN = 1000;

await open("/explore");

const editor = makeEditor(() => run());
let running = null, source = null, columns = [], asChart = false, drawn = "";

// ---- Tables ----------------------------------------------------------------------------------------------

async function loadTables() {
  const answer = await sql("SELECT t.table_name, t.comment AS about, c.column_name, c.data_type, c.unit, c.comment FROM information_schema.tables t JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name WHERE t.table_schema = 'public' ORDER BY t.table_name, c.ordinal_position");
  const tables = new Map();
  for (const row of answer.rows) {
    if (!tables.has(row.table_name)) tables.set(row.table_name, { name: row.table_name, about: row.about, columns: [] });
    tables.get(row.table_name).columns.push({ name: row.column_name, type: row.data_type, unit: row.unit, about: row.comment });
  }
  return [...tables.values()];
}

function showTables(tables) {
  editor.know(tables);
  const draw = () => {
    const wanted = byId("filter").value.trim().toLowerCase();
    const fits = (table) => !wanted || table.name.includes(wanted) || table.columns.some((column) => column.name.includes(wanted));
    const entry = (table) => h("details", { open: wanted.length > 2 },
      h("summary", {}, table.name),
      h("p", { class: "about" }, table.about || ""),
      h("ul", {}, table.columns.map((column) => h("li", { title: column.about || "" },
        h("button", { type: "button", on: { click: () => editor.insert(column.name) } }, column.name),
        h("span", {}, unitOf(column))))));
    byId("tables").replaceChildren(...tables.filter(fits).map(entry));
  };
  byId("filter").oninput = draw;
  draw();
}

// Columns seldom change, but a server that has too much to do is asked again.
watch({ every: 3600, area: null, ask: loadTables, show: showTables, failed: (error) => byId("tables").replaceChildren(h("p", { class: "empty" }, error.message)) });

const TYPES = { "TIMESTAMP WITH TIME ZONE": "time", VARCHAR: "text", "DECIMAL(38,0)": "decimal", BIGINT: "integer", INTEGER: "integer", DOUBLE: "double", BOOLEAN: "boolean" };
function unitOf(column) {
  const type = TYPES[column.type] || column.type.toLowerCase();
  return column.unit && type !== "time" ? column.unit : type;
}

// ---- Running ---------------------------------------------------------------------------------------------

function fail(error) {
  byId("failure").hidden = false;
  byId("failure").textContent = error.hint ? `${error.message} — ${error.hint}` : error.message;
}

function begin() {
  byId("failure").hidden = true;
  byId("cancel").hidden = false;
  byId("run").disabled = true;
}

function end() {
  byId("cancel").hidden = true;
  byId("run").disabled = false;
  running = null;
}

async function run() {
  const statement = editor.value.trim();
  if (!statement || running) return;
  stopLive();
  running = new AbortController();
  begin();
  keep(statement);
  const started = performance.now();
  setText(byId("told"), "Running…");
  try {
    const answer = await request("/api/v1/sql", { method: "POST", signal: running.signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ sql: statement, max_rows: 100000 }) });
    const body = exact(await answer.text());
    drawn = statement;
    put(body.columns, body.rows, `${count(body.row_count)} ${body.row_count === 1 ? "row" : "rows"} in ${seconds2(performance.now() - started)}${complete(body.meta)}`);
    offerFiles(statement);
  } catch (error) {
    setText(byId("told"), error.name === "AbortError" ? "Cancelled." : "It did not run.");
    if (error.name !== "AbortError") fail(error);
  } finally { end(); }
}

// Numbers that a number of JavaScript would round stay text, digit by digit.
function exact(text) {
  return JSON.parse(text, (key, value, context) => (typeof value === "number" && context && Number.isInteger(value) && !Number.isSafeInteger(value) ? context.source : value));
}

function seconds2(ms) { return ms < 1000 ? `${Math.round(ms)} ms` : seconds(ms / 1000); }

function complete(meta) { return meta?.complete === false ? " · some rows that were just acknowledged are missing" : meta?.complete ? " · complete to now" : ""; }

byId("run").addEventListener("click", run);
byId("cancel").addEventListener("click", () => running?.abort());

function put(names, found, text) {
  columns = names;
  setText(byId("told"), text);
  say(text);
  const numeric = new Set(names.filter((column) => /INT|DOUBLE|DECIMAL/.test(column.type)).map((column) => column.name));
  const head = h("tr", {}, names.map((column) => h("th", { scope: "col", class: numeric.has(column.name) ? "n" : null, title: column.type }, column.name)));
  const cell = (row, column) => {
    const value = row[column.name];
    const text = value === null || value === undefined ? "null" : typeof value === "object" ? JSON.stringify(value) : String(value);
    return h("td", { class: value === null || value === undefined ? "null" : numeric.has(column.name) ? "n" : null, title: text.length > 40 ? text : null }, text);
  };
  const lines = found.slice(0, SHOWN).map((row) => h("tr", {}, names.map((column) => cell(row, column))));
  const more = found.length > SHOWN ? h("p", { class: "empty" }, ` The first ${count(SHOWN)} rows are shown; the files have all.`) : "";
  byId("rows").replaceChildren(h("table", {}, h("thead", {}, head), h("tbody", {}, lines)), more);
  if (!found.length) byId("rows").append(h("p", { class: "empty" }, " No rows."));
  if (asChart) draw();
}

function address(statement, format) {
  return `/api/v1/sql?${new URLSearchParams({ q: statement, format })}`;
}

function offerFiles(statement) {
  for (const link of document.querySelectorAll("[data-format]")) {
    const format = link.dataset.format;
    link.hidden = false;
    link.href = address(statement, format);
    link.download = `result.${format}`;
  }
}

// ---- Chart: the server's drawing of the same rows --------------------------------------------------------------

// Of an answer that is kept up a drawing is seldom newer than this.
const REDRAW_MS = 5000;
let drawing = null, drawnAt = 0;

async function draw() {
  const holder = byId("drawing");
  holder.hidden = false;
  if (source && Date.now() - drawnAt < REDRAW_MS) return;
  drawnAt = Date.now();
  drawing?.abort();
  drawing = new AbortController();
  const width = Math.max(240, Math.min(2000, Math.round(holder.clientWidth)));
  const { signal } = drawing;
  try {
    const answer = await request("/api/v1/sql", { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ sql: drawn, format: "svg", width }) });
    const svg = document.importNode(new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement, true);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `A chart of ${columns.map((column) => column.name).join(", ")}; the table has the values.`);
    if (!signal.aborted) holder.replaceChildren(svg);
  } catch (error) {
    if (error.name !== "AbortError") holder.replaceChildren(h("p", { class: "empty" }, error.message));
  }
}

for (const [id, chart] of [["as-table", false], ["as-chart", true]]) {
  byId(id).addEventListener("click", () => {
    asChart = chart;
    byId("as-table").setAttribute("aria-pressed", String(!chart));
    byId("as-chart").setAttribute("aria-pressed", String(chart));
    byId("rows").hidden = chart;
    byId("drawing").hidden = !chart;
    drawnAt = 0;
    if (chart && drawn) draw();
  });
}

// ---- Live -------------------------------------------------------------------------------------------------

// An answer that is kept up has names of columns alone.
function typeOf(value) {
  if (typeof value === "number") return "DOUBLE";
  return typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value) ? "TIMESTAMP" : "VARCHAR";
}

function stopLive() {
  source?.stop();
  source = null;
  byId("live").setAttribute("aria-pressed", "false");
  byId("live").classList.remove("primary");
}

byId("live").addEventListener("click", () => {
  if (source) { stopLive(); return; }
  const statement = editor.value.trim();
  if (!statement) return;
  keep(statement);
  byId("failure").hidden = true;
  byId("live").setAttribute("aria-pressed", "true");
  byId("live").classList.add("primary");
  setText(byId("told"), "Waiting for the first answer…");
  const shown = keepUp(byId("result-area"));
  const end = (error) => { stopLive(); setText(byId("told"), "The subscription ended."); fail(error); };
  let since = null, missed = "";
  const events = {
    snapshot: (data) => {
      const answer = exact(data);
      drawn = statement;
      since ??= new Date().toLocaleTimeString(undefined, { hour12: false });
      put(answer.columns.map((name) => ({ name, type: typeOf(answer.rows[0]?.[name]) })), answer.rows, `${count(answer.rows.length)} ${answer.rows.length === 1 ? "row" : "rows"}, kept up since ${since}${missed}`);
      offerFiles(statement);
    },
    failed: (data) => end(JSON.parse(data)),
    gap: () => { missed = "; some changes before were missed"; },
  };
  const unsubscribe = subscribe(`/api/v1/sql/live?${new URLSearchParams({ q: statement })}`, {
    event: (name, data) => { events[name]?.(data); if (source) shown.fresh(); },
    lost: () => {
      since = null;
      shown.lost();
      setText(byId("told"), missed ? "The server could not send all changes; it is asked again." : "The subscription was lost; it is taken up again by itself.");
    },
    refused: end,
  });
  source = { stop: () => { unsubscribe(); shown.stop(); } };
});

// ---- History, links -----------------------------------------------------------------------------------------

function history() {
  try { return JSON.parse(remembered("headframe-history") || "[]"); } catch { return []; }
}

function keep(statement) {
  remember("headframe-history", JSON.stringify([statement, ...history().filter((one) => one !== statement)].slice(0, KEPT)));
  window.history.replaceState(null, "", `/explore?q=${encodeURIComponent(statement)}`);
  offerHistory();
}

function offerHistory() {
  const option = (text, value) => h("option", { value }, text);
  byId("history").replaceChildren(option("History and examples", ""),
    h("optgroup", { label: "Examples" }, EXAMPLES.map(([name, statement]) => option(name, statement))),
    h("optgroup", { label: "History" }, history().map((statement) => option(statement.replace(/\s+/g, " ").slice(0, 80), statement))));
}

byId("history").addEventListener("change", (event) => {
  if (event.target.value) editor.value = event.target.value;
  event.target.value = "";
});
byId("share").replaceWith(Object.assign(copyButton(() => `${location.origin}/explore?q=${encodeURIComponent(editor.value.trim())}`, "Copy link"), { id: "share", className: "quiet push" }));
const asked = new URLSearchParams(location.search).get("q");
// What was typed before this script was there stays.
if (asked || !editor.value.trim()) editor.value = asked || history()[0] || EXAMPLES[0][1];
offerHistory();

watchServer();
