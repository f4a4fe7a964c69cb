// The operator's page.
import { ago, byId, canOperate, h, json, open, request, say, send, setText, show, sql, terms, watch, Refusal } from "./console.js";
import { coins, count, figure, hashrate, seconds, short, DASH } from "./format.js";
import { fill, mono, tag, update } from "./table.js";
import { confirm } from "./confirm.js";
import { showAccounts } from "./accounts.js";
import { showPipelines, showStorage, workersNote } from "./upkeep.js";

await open("/operate");
const operates = await canOperate;
const chain = (await terms())?.chain || null;
const symbol = chain?.symbol || "";
if (!operates) {
  byId("lede").textContent = "The state of everything that runs here. Orders need an operator who signed in.";
  for (const control of document.querySelectorAll("#hold *, #ban *, [data-order]")) if ("disabled" in control) control.disabled = true;
}

// ---- Orders -------------------------------------------------------------------------------------------------

async function order(area, done, run) {
  const before = byId(area).querySelector(".notice.order");
  before?.remove();
  const put = (state, text) => byId(area).querySelector("header").after(h("p", { class: "notice order", "data-state": state, role: "status" }, text));
  try { const note = await run(); put("good", note || done); say(done); } catch (error) { put("bad", `${error.message}${error.hint ? `. ${error.hint}` : ""}`); }
}

// ---- State --------------------------------------------------------------------------------------------------

let streamChecks = {}, taskChecks = {};
watch({
  every: 5, area: byId("ready-area"),
  ask: async () => {
    // A server that is not ready says so with 503 and the same body.
    const answer = await fetch("/ready").catch((error) => { throw Object.assign(error, { isOfRequest: true }); });
    if (answer.status !== 200 && answer.status !== 503) throw new Refusal(answer.status, {});
    return answer.json();
  },
  show: ({ ready, missing, notes, checks }) => {
    taskChecks = checks;
    streamChecks = Object.fromEntries(Object.entries(checks).filter(([name]) => name.startsWith("stream ")).map(([name, state]) => [name.slice(7), state]));
    drawStreams();
    const parts = Object.entries(checks).filter(([name]) => !name.startsWith("stream "));
    const bad = Object.values(streamChecks).filter((state) => state !== "ok").length;
    parts.push(["streams", bad ? `${bad} of ${Object.keys(streamChecks).length} are not well` : "ok"]);
    const signature = JSON.stringify([parts, missing, notes]);
    if (byId("ribbon").dataset.rows === signature) return;
    byId("ribbon").dataset.rows = signature;
    byId("ribbon").replaceChildren(...parts.map(([name, state]) => {
      const good = state === "ok";
      return h("li", { "data-state": good ? "good" : "bad", title: String(state) }, h("span", { class: "dot", "data-state": good ? "good" : "bad", "aria-hidden": "true" }), name, h("span", { class: "said" }, good ? ": well" : ": not well"));
    }));
    const lines = [...(ready ? [] : [["bad", `Not ready: ${missing.map(words).join("; ")}`]]), ...notes.map((note) => ["warn", words(note)])];
    byId("words").replaceChildren(...lines.map(([state, text]) => h("p", { class: "notice", "data-state": state }, text)));
  },
});

function words(value) { return typeof value === "string" ? value : JSON.stringify(value); }

// The lines of Prometheus, by name; labels stay text.
function metricsOf(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    if (!line || line[0] === "#") continue;
    const parts = /^([\w:]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (parts) found.set(parts[2] ? `${parts[1]}{${parts[2]}}` : parts[1], Number(parts[3]));
  }
  return found;
}

let earlier = null;
const rates = new Map();
watch({
  every: 5, area: byId("figures-area"),
  ask: async () => ({ at: Date.now(), metrics: metricsOf(await (await request("/metrics")).text()) }),
  show: ({ at, metrics }) => {
    const sum = (name) => [...metrics].filter(([key]) => key.startsWith(name)).reduce((all, [, value]) => all + value, 0);
    const has = (name) => [...metrics.keys()].some((key) => key.startsWith(name));
    show("f-hashrate", hashrate(has("pool_total_hashrate") ? sum("pool_total_hashrate") : null), "10 min");
    const bans = metrics.get("headframe_stratum_bans");
    show("f-sessions", { text: count(metrics.get("headframe_stratum_sessions")), unit: "" }, bans === undefined ? null : `${count(bans)} bans`);
    const age = metrics.get("headframe_stratum_template_age_seconds");
    show("f-template", { text: age === undefined ? DASH : seconds(age), unit: "" }, `height ${count(metrics.get("headframe_stratum_template_height"))}`);
    show("f-queries", { text: count(metrics.get("headframe_queries_running")), unit: "" }, `${count(metrics.get("headframe_sql_workers"))} SQL workers`);
    const part = (name) => ({ text: metrics.has(name) ? (metrics.get(name)).toFixed(0) : DASH, unit: metrics.has(name) ? "%" : "" });
    show("f-cpu", part("pool_cpu_usage"), "of all cores");
    show("f-memory", part("pool_memory_usage"), "of the machine");
    show("f-disk", part("pool_disk_usage"), "of the data’s disk");
    setText(byId("workers-note"), `${workersNote(metrics)}, ${count(sum("headframe_queries_total"))} statements since the start`);
    if (earlier) {
      const length = (at - earlier.at) / 1000;
      const rate = (key) => (metrics.get(key) - (earlier.metrics.get(key) ?? metrics.get(key))) / length;
      for (const key of metrics.keys()) if (/^headframe_(committed_rows_total|read_rows_total|\w+_offset)\b/.test(key)) rates.set(key, rate(key));
      const accepted = 'headframe_stratum_shares_total{outcome="accepted"}';
      const refused = sum("headframe_stratum_shares_total") - (metrics.get(accepted) || 0);
      show("f-shares", { text: metrics.has(accepted) ? rate(accepted).toFixed(1) : DASH, unit: "" }, `${count(metrics.get(accepted))} accepted, ${count(refused)} not`);
    }
    if (!earlier || at - earlier.at > 55000) earlier = { at, metrics };
    lastMetrics = metrics;
    drawStreams();
    showPipelines(metrics, rates, taskChecks.pipelines);
    showStorage(metrics, taskChecks.maintenance);
  },
});
let lastMetrics = new Map();

// ---- Streams ----------------------------------------------------------------------------------------------------

// What is known of each stream. One of which the server cannot tell now keeps what was known, in grey with its age.
const looks = new Map(), streamsNote = byId("streams-note").textContent;
watch({
  every: 10, area: byId("streams-area"), ask: () => json("/api/v1/streams"),
  failed: (error) => setText(byId("streams-note"), error.message),
  show: ({ streams }) => {
    setText(byId("streams-note"), streamsNote);
    for (const look of streams) {
      const before = looks.get(look.stream);
      const isKnown = look.version !== null;
      looks.set(look.stream, !isKnown && before?.at ? { ...before, reason: look.reason, isOld: true } : { ...look, at: isKnown ? new Date().toISOString() : null });
    }
    drawStreams();
  },
});

// States come with readiness, rates with the metrics, and the rest with the streams: each that comes completes the rows.
function drawStreams() {
  const names = [...new Set([...Object.keys(streamChecks), ...looks.keys()])];
  if (!names.length) return;
  const rows = names.map((name) => ({
    ...looks.get(name), stream: name, state: streamChecks[name] || null,
    rate: round(rates.get(`headframe_committed_rows_total{table="${name}"}`)), commits: mean("headframe_commit_seconds", name),
  }));
  const known = (row, value, content) => value === null || value === undefined ? h("span", { class: "unknown", title: row.reason }, DASH) : row.isOld ? h("span", { class: "unknown" }, content) : content;
  update(byId("streams"), [
    { name: "Stream", of: (row) => mono(row.stream) },
    { name: "State", of: (row) => row.state === null ? DASH : row.state === "ok" ? tag("well", "good") : tag(row.state, "bad") },
    { name: "Rows/s", number: true, of: (row) => row.rate === null ? DASH : row.rate },
    { name: "Acknowledged", number: true, of: (row) => known(row, row.acknowledged, count(row.acknowledged)) },
    { name: "Lag", number: true, of: (row) => row.isOld ? h("span", { class: "age", title: row.reason }, ago(row.at, " old")) : known(row, row.complete, lag(row)) },
    { name: "Newest row", of: (row) => known(row, row.newest, ago(row.newest)) },
    { name: "Table version", number: true, of: (row) => known(row, row.version, count(row.version)) },
    { name: "Mean commit", number: true, of: (row) => row.commits === null ? DASH : `${row.commits} ms` },
  ], rows, { key: (row) => row.stream });
}

function lag(row) {
  if (row.complete) return tag("none", "good");
  if (row.acknowledged === null) return h("span", { class: "unknown", title: row.reason }, DASH);
  return tag(`${count(row.acknowledged - (row.complete_through || 0))} messages`, "warn");
}

function round(rate) { return rate === undefined || Number.isNaN(rate) ? null : rate >= 10 ? rate.toFixed(0) : rate.toFixed(1); }

function mean(name, table) {
  const total = lastMetrics.get(`${name}_sum{table="${table}"}`), times = lastMetrics.get(`${name}_count{table="${table}"}`);
  return times ? (total / times * 1000).toFixed(0) : null;
}

// ---- Statements --------------------------------------------------------------------------------------------------

const queries = watch({
  every: 3, area: byId("queries-area"), ask: () => json("/api/v1/sql"),
  show: ({ running }) => update(byId("queries"), [
    { name: "For", of: (row) => seconds(row.running_ms / 1000) },
    { name: "Rows", number: true, of: (row) => count(row.rows) },
    { name: "Statement", wrap: true, of: (row) => h("code", { title: row.sql }, row.sql.length > 240 ? `${row.sql.slice(0, 240)}…` : row.sql) },
    { name: "Order", of: (row) => h("button", { type: "button", class: "small danger", "aria-label": `Cancel the statement ${row.query_id}`, on: { click: async () => { await order("queries-area", "The statement was ended.", () => send("DELETE", `/api/v1/sql/${encodeURIComponent(row.query_id)}`).then(() => null)); queries.now(); } } }, "Cancel") },
  ], running, { key: (row) => row.query_id, empty: "No typed statement runs now." }),
});

// ---- Payments ----------------------------------------------------------------------------------------------------

const payments = watch({
  every: 6, area: byId("payments-area"),
  ask: async () => {
    const state = await json("/api/v1/payments/state").catch((error) => { if (error instanceof Refusal && error.status === 404) return { absent: error.message }; throw error; });
    const list = await json("/api/v1/payments?limit=12").catch((error) => { if (error instanceof Refusal && error.status === 404) return { payments: [] }; throw error; });
    return { state, list };
  },
  failed: (error) => setText(byId("payer-note"), error.message),
  show: ({ state, list }) => {
    const note = state.absent || (state.stopped ? `stopped: ${words(state.stopped)}` : state.waiting ? `waiting: ${state.waiting}` : state.dry_run ? "dry run: nothing is paid" : "the payer works");
    setText(byId("payer-note"), note);
    const wallet = state.wallet;
    const figures = [["Unlocked", wallet?.unlocked_atomic], ["Wallet in all", wallet?.total_atomic], ["Owed to miners", wallet?.owed_atomic]];
    const signature = JSON.stringify([figures, wallet?.shortage]);
    if (byId("wallet").dataset.rows !== signature) {
      byId("wallet").dataset.rows = signature;
      byId("wallet").replaceChildren(...figures.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: value === undefined ? "unknown" : null }, figure(value, chain), h("span", { class: "unit" }, value === undefined ? "" : symbol)))),
        h("div", {}, h("dt", {}, "Shortage"), h("dd", {}, wallet ? wallet.shortage ? tag("yes", "bad") : "none" : DASH, wallet?.shortage ? h("small", {}, wallet.shortage) : "")));
    }
    const account = (name, kind, text) => ({ name, kind, text });
    const rows = [...(state.held || []).map((one) => account(one.account, "held", one.reason)), ...(state.refused || []).map((one) => account(one.account, "refused", one.reason)), ...(state.due || []).map((one) => account(one.account, "due", `${coins(one.amount_atomic, chain, 6)} ${symbol}`))];
    fill(byId("due"), [
      { name: "Account", of: (row) => mono(short(row.name, 8, 6), row.name) },
      { name: "State", of: (row) => tag(row.kind, { held: "warn", refused: "bad", due: "accent" }[row.kind]) },
      { name: "Amount or reason", wrap: true, of: (row) => row.text },
      { name: "Order", of: (row) => h("button", { type: "button", class: "small", disabled: !operates, "aria-label": `${row.kind === "held" ? "Release" : "Hold"} ${row.name}`, on: { click: () => instruct(row.kind === "held" ? "resume" : "hold", row.name) } }, row.kind === "held" ? "Release" : "Hold") },
    ], rows.slice(0, 50), { empty: "Nobody is due, held or refused." });
    fill(byId("payments"), [
      { name: "When", of: (row) => ago(row.updated_at) },
      { name: "Account", of: (row) => mono(short(row.account, 6, 4), row.account) },
      { name: "Step", of: (row) => tag(row.step, { confirmed: "good", review: "bad", released: "warn" }[row.step] || "accent") },
      { name: `Amount, ${symbol}`, number: true, of: (row) => coins(row.amount_atomic, chain, 4) },
      { name: "Order", of: (row) => row.step === "review" && operates ? h("span", { class: "row" }, ["paid", "unpaid"].map((verdict) => h("button", { type: "button", class: "small", "aria-label": `${verdict}: payment ${row.payment}`, on: { click: () => resolve(row, verdict) } }, verdict))) : h("span", { title: row.reason || "" }, row.reason ? "see reason" : "") },
    ], list.payments, { empty: "Nothing has been paid yet." });
  },
});

async function instruct(kind, account) {
  const hold = kind === "hold";
  const word = account ? account.slice(-6) : hold ? "hold all" : "release all";
  const whom = account ? `account ${short(account)}` : "every account of this pool";
  const reason = byId("hold-reason").value.trim() || (hold ? "by hand, from the console" : null);
  if (!await confirm(hold ? "Hold payments" : "Release payments", `${hold ? "Nothing more is paid to" : "Payments go on for"} ${whom}.`, word, hold ? "Hold" : "Release")) return;
  await order("payments-area", hold ? "Held." : "Released.", () => send("POST", "/api/v1/payments/instructions", { kind, ...(account ? { account } : {}), ...(reason ? { reason } : {}) }).then((answer) => answer.note));
  payments.now();
}

async function resolve(row, verdict) {
  if (!await confirm(`Decide that it was ${verdict}`, `Payment ${row.payment} of ${coins(row.amount_atomic, chain, 6)} ${symbol} is under review: ${row.reason || "no reason is known"}.`, row.payment.slice(-6), `It was ${verdict}`)) return;
  await order("payments-area", "Decided.", () => send("POST", "/api/v1/payments/instructions", { kind: "resolve", payment: row.payment, verdict, ...(row.tx_id && verdict === "paid" ? { tx_id: row.tx_id } : {}), reason: "decided in the console" }).then((answer) => answer.note));
  payments.now();
}

byId("hold").addEventListener("submit", (event) => { event.preventDefault(); instruct(event.submitter.value, byId("hold-account").value.trim()); });
for (const button of document.querySelectorAll("[data-order]")) button.addEventListener("click", () => instruct(button.dataset.order === "hold-all" ? "hold" : "resume", null));

// ---- Blocks that wait for a decision --------------------------------------------------------------------------------

const unproven = watch({
  every: 20, area: byId("unproven-area"), ask: () => json("/api/v1/unproven-blocks"),
  show: ({ blocks }) => {
    byId("unproven-area").hidden = !blocks.length;
    fill(byId("unproven"), [
      { name: "Height", number: true, of: (row) => count(row.height) },
      { name: "Hash", wrap: true, of: (row) => mono(row.hash) },
      { name: "Order", of: (row) => h("span", { class: "row" }, ["confirm", "reject"].map((verdict) => h("button", { type: "button", class: "small", disabled: !operates, "aria-label": `${verdict} the block ${row.hash}`, on: { click: () => decide(row, verdict) } }, verdict))) },
    ], blocks);
  },
});

async function decide(row, verdict) {
  const text = verdict === "confirm" ? "Its reward is shared out as if the pool had found it." : "Nobody is credited for it.";
  if (!await confirm(`${verdict === "confirm" ? "Confirm" : "Reject"} block ${count(row.height)}`, `${row.hash}. ${text}`, row.hash.slice(-6), verdict)) return;
  await order("unproven-area", "Decided.", () => send("POST", "/api/v1/unproven-blocks", { hash: row.hash, verdict }).then(() => null));
  unproven.now();
}

// ---- Bans -----------------------------------------------------------------------------------------------------------

const bans = watch({
  every: 6, area: byId("bans-area"), ask: () => json("/api/v1/bans"),
  failed: (error) => { setText(byId("bans-note"), error.message); fill(byId("bans"), [{ name: "Bans", of: (row) => row }], [], { empty: "The process that runs the pool shows them." }); },
  show: ({ bans: rows }) => {
    setText(byId("bans-note"), rows.length === 1 ? "1 ban" : `${count(rows.length)} bans`);
    fill(byId("bans"), [
      { name: "Who", of: (row) => mono(row.address) },
      { name: "Worker", of: (row) => row.worker ? mono(`${short(row.wallet || "", 6, 4)}.${row.worker}`, row.wallet) : DASH },
      { name: "Reason", wrap: true, of: (row) => row.reason || DASH },
      { name: "Until", of: (row) => untilOf(row) },
      { name: "Order", of: (row) => h("button", { type: "button", class: "small", disabled: !operates, "aria-label": `Lift the ban of ${row.address}`, on: { click: () => lift(row) } }, "Lift") },
    ], rows.slice(0, 200), { empty: "Nobody is kept out." });
  },
});

function untilOf(row) {
  return row.until_ms ? `in ${seconds((row.until_ms - Date.now()) / 1000)}` : "it is lifted";
}

async function lift(row) {
  if (!await confirm("Lift a ban", `${row.address} is let in again. It was kept out for: ${row.reason || "no reason"}.`, "", "Lift")) return;
  const named = new URLSearchParams({ address: row.address, ...(row.worker ? { wallet: row.wallet, worker: row.worker } : {}) });
  await order("bans-area", `${row.address} is let in again.`, () => send("DELETE", `/api/v1/bans?${named}`).then(() => null));
  bans.now();
}

byId("ban").addEventListener("submit", async (event) => {
  event.preventDefault();
  const length = byId("ban-for").value, address = byId("ban-address").value.trim();
  await order("bans-area", `${address} is kept out.`, () => send("POST", "/api/v1/bans", { address, reason: byId("ban-reason").value.trim(), ...(length ? { for_s: Number(length) } : {}) }).then(() => null));
  bans.now();
});

// ---- Why can't this miner connect? ---------------------------------------------------------------------------------

async function look(what) {
  const condition = "($1 = '' OR miner = $1 OR worker = $1 OR ip = $1)";
  const answer = await sql(`SELECT event_time, event, miner, worker, agent, ip, difficulty, refusal, reason, duration_s, shares_accepted, shares_refused FROM sessions WHERE event_time > now() - INTERVAL '1 day' AND ${condition} ORDER BY event_time DESC LIMIT 50`, [what]);
  fill(byId("sessions"), [
    { name: "When", of: (row) => ago(row.event_time) },
    { name: "What", of: (row) => tag(row.event, { login: "good", refused: "bad" }[row.event]) },
    { name: "Worker", of: (row) => mono(`${short(row.miner || "", 6, 4)}.${row.worker || ""}`, row.miner) },
    { name: "From", of: (row) => mono(row.ip || DASH) },
    { name: "Program", of: (row) => short(row.agent || "", 24, 4) },
    { name: "Why", wrap: true, of: (row) => [row.refusal, row.reason].filter(Boolean).join(": ") || DASH },
    { name: "Lasted", number: true, of: (row) => row.duration_s === null ? DASH : seconds(row.duration_s) },
    { name: "Accepted", number: true, of: (row) => row.shares_accepted === null ? DASH : count(row.shares_accepted) },
    { name: "Refused", number: true, of: (row) => row.shares_refused === null ? DASH : count(row.shares_refused) },
  ], answer.rows, { empty: "No connection of a day fits." });
  const refused = answer.rows.filter((row) => row.event === "refused");
  const newest = answer.rows[0];
  const put = (state, text) => byId("why-answer").replaceChildren(h("p", { class: "notice", "data-state": state }, text));
  if (!what) byId("why-answer").replaceChildren();
  else if (!newest) put("warn", "Nothing of it arrived within a day: look at the address and port it was given, at its network, and at a firewall before this machine.");
  else if (newest.event === "refused") put("bad", `It arrives and is refused: ${newest.reason || newest.refusal}. ${refused.length > 1 ? `${refused.length} times of late.` : ""}`);
  else if (newest.event === "login") put("good", "It is connected.");
  else put("warn", `It was connected and left: ${newest.reason || "no reason is known"}.`);
}

const looked = (what) => look(what).catch((error) => byId("why-answer").replaceChildren(h("p", { class: "notice", "data-state": error.status === 400 ? "warn" : "bad" }, error.message)));
byId("why").addEventListener("submit", (event) => { event.preventDefault(); looked(byId("why-what").value.trim()); });
watch({ every: 3600, area: null, ask: () => look(""), show: () => null, failed: (error) => byId("why-answer").replaceChildren(h("p", { class: "notice", "data-state": "bad" }, error.message)) });

showAccounts(order);

// ---- Dead letters, access ---------------------------------------------------------------------------------------------

watch({
  every: 30, area: byId("dead-area"), ask: () => sql("SELECT stream, seq, \"row\", ingest_time, reason, payload FROM dead_letters ORDER BY ingest_time DESC LIMIT 20"),
  failed: (error) => fill(byId("dead"), [{ name: "Dead letters", wrap: true, of: (row) => row }], [error.message]),
  show: ({ rows }) => fill(byId("dead"), [
    { name: "When", of: (row) => ago(row.ingest_time) },
    { name: "Stream", of: (row) => mono(row.stream) },
    { name: "Row", number: true, of: (row) => `${row.seq}.${row.row}` },
    { name: "Reason", wrap: true, of: (row) => row.reason },
    { name: "The row itself", wrap: true, of: (row) => h("code", {}, String(row.payload ?? "").slice(0, 400)) },
  ], rows, { empty: "There are none." }),
});

watch({
  every: 15, area: byId("access-area"), ask: () => sql("SELECT event_time, wire, action, outcome, actor, subject, role, peer, reason FROM access ORDER BY event_time DESC LIMIT 15"),
  failed: (error) => fill(byId("access"), [{ name: "Access", wrap: true, of: (row) => row }], [error.message]),
  show: ({ rows }) => fill(byId("access"), [
    { name: "When", of: (row) => ago(row.event_time) },
    { name: "What", of: (row) => row.action },
    { name: "Outcome", of: (row) => tag(row.outcome, { ok: "good", done: "good", accepted: "good" }[row.outcome] || (/fail|refus|wrong|denied/.test(row.outcome) ? "bad" : "")) },
    { name: "By", of: (row) => row.actor || DASH },
    { name: "About", of: (row) => row.subject || DASH },
    { name: "Role", of: (row) => row.role || DASH },
    { name: "Wire", of: (row) => row.wire },
    { name: "From", of: (row) => mono(row.peer || DASH) },
    { name: "Why", wrap: true, of: (row) => row.reason || DASH },
  ], rows, { empty: "Nobody has logged in yet." }),
});
