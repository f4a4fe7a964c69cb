// Violations as a work list, one of them with what may be done about it, scores, and inspections.
import { ago, byId, canOperate, h, json, open, request, say, setText, show, watch } from "./console.js";
import { count, day, moment, seconds, DASH } from "./format.js";
import { value } from "./fields.js";
import { fill, tag } from "./table.js";
import { filters, options } from "./filters.js";

await open("/compliance");
const operates = await canOperate;
const TO_DO = ["open", "acknowledged", "in_remediation", "resolved", "verified"];
const STATUSES = ["detected", "open", "acknowledged", "in_remediation", "resolved", "verified", "closed", "waived", "false_positive"];
const WEIGHT = { critical: 3, high: 2, medium: 1, low: 0 };
const STATES = { critical: ["bad", "▲"], high: ["bad", "▲"], medium: ["warn", "△"], low: ["", ""] };
const ORDERS = [
  ["acknowledge", "Acknowledge", ["open"]],
  ["remediate", "Begin to remedy", ["open", "acknowledged"]],
  ["resolve", "Resolve", ["open", "acknowledged", "in_remediation"]],
  ["verify", "Verify", ["resolved"]],
  ["close", "Close", ["verified"]],
  ["reopen", "Reopen", ["resolved", "verified", "closed", "waived", "false_positive"]],
  ["waive", "Waive", ["detected", "open", "acknowledged", "in_remediation"]],
  ["false-positive", "False positive", ["detected", "open", "acknowledged", "in_remediation", "resolved", "waived"]],
];
const has = (given) => given !== null && given !== undefined;
const phrase = (name) => { const text = name.replaceAll("_", " ").toLowerCase(); return text[0].toUpperCase() + text.slice(1); };

const severity = (row) => { const [state, sign] = STATES[row.severity] || ["", ""]; return tag(`${sign} ${row.severity}`.trim(), state); };
const violation = decodeURIComponent(location.pathname.split("/")[2] || "");

// A clock that runs until something is due, in words and with a shape, not by its colour alone.
function clock(due, done) {
  if (done) return h("span", {}, "done ", ago(done));
  if (!due) return h("span", { class: "unknown" }, DASH);
  const left = (Date.parse(due) - Date.now()) / 1000;
  return h("time", { datetime: due, title: day(due) }, left < 0 ? tag(`▲ late by ${seconds(-left)}`, "bad") : left < 3600 ? tag(`△ ${seconds(left)} left`, "warn") : `${seconds(left)} left`);
}

// Where rules are not a kind of the registry, nothing watches any.
const { kinds } = await json("/api/v1/registry/kinds").catch(() => ({ kinds: [] }));
const watchesRules = kinds.some((kind) => kind.kind === "rules");

if (violation) showOne(); else showList();

// ---- The work list ---------------------------------------------------------------------------------------------

function showList() {
  byId("list-view").hidden = false;
  options(byId("w-status"), [["to_do", "to do"], ...STATUSES.map((status) => [status, status.replaceAll("_", " ")])], "all");
  let values = {}, watcher = null;
  const filter = filters(byId("filter"), (now) => { values = now; watcher?.now(); });
  values = filter.read();
  if (watchesRules) watcher = watch({
    every: 10, area: byId("violations-area"),
    ask: async () => {
      const { status, from, to, ...wanted } = values;
      if (status && status !== "to_do") wanted.status = status;
      for (const [name, text] of [["from", from], ["to", to]]) if (text) wanted[name] = new Date(text).toISOString();
      const answer = await json(`/api/v1/violations?${new URLSearchParams({ ...wanted, limit: 1000 })}`);
      return status === "to_do" ? answer.rows.filter((row) => TO_DO.includes(row.status)) : answer.rows;
    },
    failed: (error) => {
      setText(byId("violations-note"), "");
      fill(byId("violations"), [{ name: "Nothing to show", wrap: true, of: (row) => row }], [`${error.message}. ${error.hint || ""}`]);
    },
    show: (rows) => {
      const late = (row) => row.resolved_at ? 0 : Number(row.resolve_due_at && Date.parse(row.resolve_due_at) < Date.now());
      const sorted = [...rows].sort((one, other) => WEIGHT[other.severity] - WEIGHT[one.severity] || late(other) - late(one) || Date.parse(one.resolve_due_at || one.since) - Date.parse(other.resolve_due_at || other.since));
      setText(byId("violations-note"), `${count(rows.length)}, the worst first`);
      const types = [...new Set(rows.map((row) => row.type))].sort();
      if (byId("w-type").options.length < 2) options(byId("w-type"), types.map((type) => [type, phrase(type)]), "any");
      // What a clock shows changes although the row does not.
      const minute = Math.floor(Date.now() / 30000);
      fill(byId("violations"), [
        { name: "Severity", of: severity },
        { name: "Violation", of: (row) => h("a", { href: `/compliance/${encodeURIComponent(row.violation)}` }, phrase(row.type)) },
        { name: "Subject", of: (row) => h("a", { href: `/registry/${row.subject_kind}s/${encodeURIComponent(row.subject)}` }, row.subject) },
        { name: "Status", of: (row) => tag(row.status.replaceAll("_", " "), "") },
        { name: "Since", of: (row) => ago(row.since) },
        { name: "Acknowledge", of: (row) => clock(row.acknowledge_due_at, row.acknowledged_at) },
        { name: "Resolve", of: (row) => clock(row.resolve_due_at, row.resolved_at) },
      ], sorted.map((row) => ({ ...row, minute })), { empty: values.status === "to_do" ? "Nothing is to be done: no rule is violated." : "No violation is like that." });
    },
  });
  else fill(byId("violations"), [{ name: "No rules", wrap: true, of: (row) => row }], ["This server watches no rules."]);
  byId("score-area").hidden = !watchesRules;
  if (watchesRules) showScore();
  const inspected = watch({
    every: 60, area: byId("inspections-area"),
    ask: () => json("/api/v1/inspections?limit=1000"),
    failed: (error) => fill(byId("inspections"), [{ name: "Nothing to show", wrap: true, of: (row) => row }], [error.message]),
    show: ({ inspections }) => { showUpload(inspections); fill(byId("inspections"), [
      { name: "Inspection", of: (row) => h("a", { href: `/registry/inspections/${encodeURIComponent(row.id)}` }, row.id) },
      { name: "Where", of: (row) => row.site || row.pool },
      { name: "Type", of: (row) => row.type.replaceAll("_", " ") },
      { name: "Status", of: (row) => row.status === "planned" && Date.parse(row.planned_at) < Date.now() ? tag("△ overdue", "warn") : tag(row.status.replaceAll("_", " "), "") },
      { name: "When", of: (row) => h("time", { datetime: row.started_at || row.planned_at }, moment(row.started_at || row.planned_at)) },
      { name: "Score", number: true, of: (row) => has(row.score_pct) ? `${row.score_pct} %` : DASH },
      { name: "Findings", wrap: true, of: (row) => row.findings || h("span", { class: "unknown" }, DASH) },
      { name: "Photos", wrap: true, of: (row) => row.photos ? value({ type: "photos" }, row.photos) : h("span", { class: "unknown" }, "none") },
      { name: "Papers", of: (row) => row.evidence ? value({ field: "evidence", type: "text" }, row.evidence) : h("span", { class: "unknown" }, "none") },
      { name: "Next due", of: (row) => row.next_due_at ? moment(row.next_due_at).slice(0, 10) : DASH },
    ], [...inspections].sort((one, other) => Date.parse(other.started_at || other.planned_at) - Date.parse(one.started_at || one.planned_at)), { empty: "No inspection is registered." }); },
  });
  byId("upload").addEventListener("submit", (event) => { event.preventDefault(); upload().then(inspected.now); });
}

// ---- Photos ------------------------------------------------------------------------------------------------------

function showUpload(inspections) {
  byId("upload").hidden = !operates || !inspections.length;
  const ids = inspections.map((row) => row.id), select = byId("upload-of");
  if (select.dataset.ids !== String(ids)) options(select, ids);
  select.dataset.ids = String(ids);
}

// One after the other: each is a change of the inspection.
async function upload() {
  const path = `/api/v1/inspections/${encodeURIComponent(byId("upload-of").value)}/photos`, button = byId("upload").querySelector("button");
  const put = (state, text) => { byId("upload-said").dataset.state = state; setText(byId("upload-said"), text); byId("upload-said").hidden = !text; };
  button.disabled = true;
  put("", "");
  try {
    let done = 0;
    for (const file of byId("upload-file").files) {
      // A server that answers before the whole has come looks like one that is not there.
      if (file.size > 5 * 1048576) throw new Error(`${file.name} has more than 5 MiB`);
      await request(path, { method: "POST", headers: { "Content-Type": file.type || "application/octet-stream" }, body: file, signal: AbortSignal.timeout(60000) });
      done += 1;
    }
    byId("upload-file").value = "";
    put("good", done === 1 ? "The photo is stored." : `${count(done)} photos are stored.`);
  } catch (error) { put("bad", `${error.message}${error.hint ? `. ${error.hint}` : ""}`); }
  button.disabled = false;
}

// ---- Scores ------------------------------------------------------------------------------------------------------

async function showScore() {
  const select = byId("score-of");
  const [{ pools }, { operators }] = await Promise.all([json("/api/v1/pools?limit=1000"), json("/api/v1/operators?limit=1000")]);
  options(select, [...pools.map((one) => [`pools/${one.id}`, `pool ${one.id}`]), ...operators.map((one) => [`operators/${one.id}`, `operator ${one.id}`])]);
  const words = new URLSearchParams(location.search);
  if (words.get("score") && [...select.options].some((option) => option.value === words.get("score"))) select.value = words.get("score");
  const watcher = watch({
    every: 30, area: byId("score-area"),
    ask: () => select.value ? json(`/api/v1/${select.value.split("/")[0]}/${encodeURIComponent(select.value.split("/")[1])}/score`) : null,
    failed: (error) => {
      show("f-score", { text: DASH, unit: "" }, error.status === 404 ? "not known" : error.message);
      fill(byId("terms"), [{ name: "Terms", wrap: true, of: (row) => row }], [], { empty: "There is no score." });
    },
    show: (answer) => {
      if (!answer) { show("f-score", { text: DASH, unit: "" }, "no pool is registered"); return; }
      show("f-score", { text: Number(answer.score).toFixed(1), unit: "of 100" });
      show("f-grade", { text: answer.grade, unit: "" }, { A: "from 90", B: "from 75", C: "from 60", D: "from 40", F: "below 40" }[answer.grade]);
      show("f-completeness", has(answer.data_completeness) ? { text: (answer.data_completeness * 100).toFixed(1), unit: "%" } : { text: DASH, unit: "" }, has(answer.data_completeness) ? "measured" : "nothing is allocated");
      show("f-late", { text: count(answer.late_reports), unit: "" });
      const whole = [];
      if (has(answer.data_completeness)) whole.push({ name: "Data that are missing", how: `${(answer.data_completeness * 100).toFixed(1)} % of 30 days was measured`, points: answer.data_completeness_points });
      if (answer.late_reports) whole.push({ name: "Reports that were late", how: count(answer.late_reports), points: answer.late_reports_points });
      const how = (row) => `weight ${row.weight} × ${row.duration_share.toFixed(2)} of a day × ${row.decay.toFixed(2)} after ${count(row.age_days)} d${row.factor === 1 ? "" : ` × ${row.factor}, ${row.factor ? "resolved in time" : "waived or none"}`}`;
      fill(byId("terms"), [
        { name: "Term", of: (row) => row.violation ? h("a", { href: `/compliance/${encodeURIComponent(row.violation)}` }, phrase(row.type)) : row.name },
        { name: "Severity", of: (row) => row.severity ? severity(row) : "" },
        { name: "How it comes about", wrap: true, of: (row) => row.violation ? how(row) : row.how },
        { name: "Points", number: true, of: (row) => Number(row.points) ? `−${Number(row.points).toFixed(2)}` : "0" },
      ], [...answer.terms].sort((one, other) => other.points - one.points).concat(whole), { empty: "Nothing is taken off." });
    },
  });
  select.addEventListener("change", () => {
    const now = new URLSearchParams(location.search);
    now.set("score", select.value);
    history.replaceState({}, "", `?${now}`);
    watcher.now();
  });
}

// ---- One violation -----------------------------------------------------------------------------------------------

function showOne() {
  byId("one-view").hidden = false;
  let now = null;
  // What may be decided is known with the row; until then nothing.
  const buttons = ORDERS.map(([order, text]) => h("button", { type: "submit", value: order, disabled: true }, text));
  byId("orders").replaceChildren(...buttons);
  if (!operates) setText(byId("order-note"), "orders need an operator who signed in");
  const watcher = watch({
    every: 10, area: byId("one-area"),
    ask: () => json(`/api/v1/violations/${encodeURIComponent(violation)}`),
    failed: (error) => { setText(byId("title"), error.status === 404 ? "There is no such violation" : error.message); byId("order-area").hidden = true; },
    show: (row) => {
      now = row;
      setText(byId("title"), phrase(row.type));
      document.title = `${phrase(row.type)} · Compliance`;
      byId("lede").replaceChildren(h("a", { href: "/compliance" }, "Compliance"), ` · ${row.subject_kind} `, h("a", { href: `/registry/${row.subject_kind}s/${encodeURIComponent(row.subject)}` }, row.subject), row.object ? ` · ${row.object}` : "");
      show("f-status", { text: row.status.replaceAll("_", " "), unit: "" }, `version ${row.version}${row.condition ? `, what the rule forbids ${{ holds: "still holds", ended: "has ended", missing: "is not known: data are missing" }[row.condition]}` : ""}`);
      byId("f-severity").classList.remove("unknown");
      byId("f-severity").replaceChildren(severity(row), h("small", {}, "since ", ago(row.since)));
      for (const [name, due, done] of [["acknowledge", row.acknowledge_due_at, row.acknowledged_at], ["resolve", row.resolve_due_at, row.resolved_at]]) {
        byId(`f-${name}`).classList.remove("unknown");
        byId(`f-${name}`).replaceChildren(clock(due, done), h("small", {}, due ? `due ${moment(due)}` : "no time is set"));
      }
      show("f-peak", has(row.peak) ? { text: row.peak.toLocaleString("en-US", { maximumFractionDigits: 2 }), unit: "" } : { text: DASH, unit: "" }, has(row.threshold) ? `limit ${row.threshold.toLocaleString("en-US", { maximumFractionDigits: 2 })}` : null);
      buttons.forEach((button, at) => {
        // What still holds cannot be resolved; the server says so as well.
        const isOver = ORDERS[at][0] !== "resolve" || row.condition !== "holds";
        button.disabled = !operates || !ORDERS[at][2].includes(row.status) || !isOver;
        button.title = isOver ? "" : "What the rule forbids still holds: waive it, or wait until it has ended";
        button.className = !button.disabled && buttons.findIndex((one) => !one.disabled) === at ? "primary" : "";
      });
      byId("until-row").hidden = buttons[6].disabled;
      past([...row.history].reverse());
      const facts = [["Rule", row.rule], ["What of it", row.object], ["Began", row.since], ["Ended", row.until], ["Opened", row.opened_at], ["Waived until", row.waived_until], ["Samples in", row.evidence_stream ? `${row.evidence_stream}, ${row.evidence_from_seq ?? "?"} to ${row.evidence_through_seq ?? "?"}` : null]];
      byId("facts").replaceChildren(...facts.filter(([, given]) => given).map(([name, given]) => h("div", {}, h("dt", {}, name), h("dd", {}, /^\d{4}-\d\d-\d\dT/.test(given) ? h("time", { datetime: given, title: given }, moment(given)) : given))));
    },
  });
  const decide = async (path, version, more, text) => {
    byId("order-area").querySelector(".notice")?.remove();
    const put = (state, words) => byId("order-area").querySelector("header").after(h("p", { class: "notice", "data-state": state, role: "status" }, words));
    const reason = byId("reason").value.trim();
    if (!reason) { put("bad", "Every decision has a reason: write one."); byId("reason").focus(); return; }
    try {
      await request(path, { method: "POST", headers: { "Content-Type": "application/json", "If-Match": `"${version}"` }, body: JSON.stringify({ reason, ...more }) });
      byId("reason").value = "";
      put("good", `${text}: done.`);
      say("Done.");
    } catch (error) { put("bad", `${error.message}${error.hint ? `. ${error.hint}` : ""}`); }
    watcher.now();
    follows.now();
  };
  byId("order").addEventListener("submit", (event) => {
    event.preventDefault();
    const order = event.submitter?.value, until = byId("until").value;
    if (order === "waive" && !until) { byId("until").setAttribute("aria-invalid", "true"); byId("until").focus(); say("A waiver needs a time until which it holds."); return; }
    byId("until").removeAttribute("aria-invalid");
    decide(`/api/v1/violations/${encodeURIComponent(violation)}/${order}`, now.version, order === "waive" ? { until: new Date(until).toISOString() } : {}, ORDERS.find(([name]) => name === order)[1]);
  });
  const STEPS = { proposed: [["carry-out", "Carried out"], ["withdraw", "Withdraw"]], carried_out: [["sign-off", "Sign off"]] };
  const follows = watch({
    every: 15, area: byId("follows-area"),
    ask: () => json(`/api/v1/orders?${new URLSearchParams({ violation, limit: 100 })}`),
    failed: () => null,
    show: ({ rows }) => {
      byId("follows-area").hidden = !rows.length;
      fill(byId("follows"), [
        { name: "Order", of: (row) => row.action === "cap" ? `cap to ${row.cap_kw} kW` : row.action },
        { name: "For", of: (row) => row.subject },
        { name: "State", of: (row) => tag(row.status.replaceAll("_", " "), row.status === "proposed" ? "warn" : "") },
        { name: "By", of: (row) => row.actor },
        { name: "Why", wrap: true, of: (row) => row.reason || DASH },
        { name: "Since", of: (row) => ago(row.event_time) },
        { name: "Next", of: (row) => h("span", { class: "row" }, (STEPS[row.status] || []).map(([step, text]) => h("button", { type: "button", class: "small", disabled: !operates, "aria-label": `${text}: ${row.action} of ${row.subject}`, on: { click: () => decide(`/api/v1/orders/${encodeURIComponent(row.order)}/${step}`, row.version, {}, text) } }, text))) },
      ], rows);
    },
  });
}

function past(rows) {
  if (byId("history").dataset.rows === String(rows.length)) return;
  byId("history").dataset.rows = String(rows.length);
  byId("history").replaceChildren(...rows.map((row) => h("li", {},
    h("p", {}, tag(row.transition.replaceAll("_", " "), ""), ` version ${row.version} · `, h("time", { datetime: row.event_time, title: row.event_time }, day(row.event_time)), " · ", h("strong", {}, row.actor), row.role ? `, ${row.role}` : "", row.status_before && row.status_before !== row.status ? ` · ${row.status_before.replaceAll("_", " ")} → ${row.status.replaceAll("_", " ")}` : ""),
    row.reason ? h("p", { class: "said-why" }, row.reason) : "")));
}
