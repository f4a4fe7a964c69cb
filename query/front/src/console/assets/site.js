// The page of a site at a glance.
import { byId, h, json, open, setText, show, watch } from "./console.js";
import { clock, count, seconds, DASH } from "./format.js";
import { mono, tag, update } from "./table.js";
import * as air from "./site-air.js";
import * as line from "./site-line.js";
import { chart } from "./site-power.js";
import { AIR, AUTHORITY, HEALTH, STATES, celsius, kw, several } from "./site-shape.js";
import { emergencyStop } from "./site-stop.js";
import { acceptLayout, acknowledge, bypass, endBypass, giver, orders } from "./site-orders.js";
import { capColumns, caps } from "./site-why.js";

// Before anything is known, and for whoever is not signed in too: the controller decides who may stop the site.
emergencyStop(giver, () => watcher?.now());
let watcher = null;
await open("/site");

const power = chart(byId("power"), byId("power-numbers"));
const order = await orders(() => watcher?.now());
const since = (site, ms) => (site.now_ms - ms) / 1000;

// ---- The ribbon ------------------------------------------------------------------------------------------------

function asked({ value }) {
  if (value.unknown !== undefined) return ["warn", "not known", value.unknown];
  const [first] = value.known;
  if (!first || first.level === "normal") return ["", "normal", null];
  const cap = first.cap_kw === null ? "" : ` to ${kw(first.cap_kw)} kW`;
  return [first.level === "emergency" ? "bad" : "warn", `${first.level}${cap}`, [first.event, first.ends_at_us ? `until ${clock(first.ends_at_us / 1000)}` : null].filter(Boolean).join(", ") || null];
}

function ribbon(site, alarms) {
  const items = [];
  for (const signal of site.signals) { const [kind, words] = asked(signal); items.push([kind, `${signal.name}: ${words}, ${seconds(signal.age_s)} old`]); }
  const open_ = alarms.filter((alarm) => !alarm.is_acknowledged), worst = open_.some((alarm) => alarm.severity === "emergency");
  items.push([worst ? "bad" : open_.length ? "warn" : "", open_.length ? `${several(open_.length, "alarm")} not acknowledged` : alarms.length ? `${several(alarms.length, "alarm")}, all acknowledged` : "no alarm"]);
  const isLate = site.age_s > 3 * site.loop_s + 1;
  items.push([isLate ? "bad" : "", `last step ${seconds(site.age_s)} ago`]);
  if (site.is_clock_doubtful) items.push(["warn", "the clock is doubtful"]);
  if (site.disk_trouble) items.push(["bad", `the journal is not written: ${site.disk_trouble}`]);
  if (site.facts?.trouble) items.push(["warn", `facts wait: ${site.facts.trouble}`]);
  if (site.quality === "estimated") items.push(["warn", "power is estimated"]);
  const signature = JSON.stringify(items), list = byId("ribbon");
  if (list.dataset.rows === signature) return;
  list.dataset.rows = signature;
  list.replaceChildren(...items.map(([kind, words]) => h("li", { "data-state": kind || "plain" }, h("span", { class: "dot", "data-state": kind || "plain", "aria-hidden": "true" }), words)));
}

// ---- Figures ---------------------------------------------------------------------------------------------------

function status(id, [kind, words], small) {
  show(id, { text: words, unit: "" }, small);
  byId(id).dataset.kind = kind || "plain";
}

function figures(site) {
  const deadline = site.deadline_in_s === null || site.state !== "curtailing" ? null : site.deadline_in_s > 0 ? `target due in ${seconds(site.deadline_in_s)}` : "the deadline is over";
  status("f-state", STATES[site.state] || ["warn", site.state], deadline ?? (site.winner ? site.winner.reason : null));
  show("f-power", { text: kw(site.measured_kw), unit: "kW" }, site.quality === "estimated" ? "estimated" : "measured");
  const left = site.target_kw - site.measured_kw;
  show("f-target", { text: kw(site.target_kw), unit: "kW" }, left >= 0 ? `${kw(left)} kW below it` : `${kw(-left)} kW above it`);
  const warmth = celsius(site.temperature_c?.value);
  show("f-temperature", { text: warmth, unit: warmth === DASH ? "" : "°C" }, `${AIR[site.thermal]?.[1] ?? site.thermal} · highest ${celsius(site.temperature_highest_c?.value)}`);
  byId("f-temperature").dataset.kind = AIR[site.thermal]?.[0] || "plain";
  const humidity = site.humidity_pct?.value;
  const isKnown = humidity !== null && humidity !== undefined;
  show("f-humidity", { text: isKnown ? humidity.toFixed(0) : DASH, unit: isKnown ? "%" : "" }, isKnown ? null : "not measured");
  show("f-fans", { text: `${site.fans_on} / ${site.fans}`, unit: "" }, `${site.fans_wanted} wanted`);
  const { running, starting, stopping, stopped, stuck, unknown } = site.machines, all = running + starting + stopping + stopped + stuck + unknown;
  const rest = [[starting, "starting"], [stopping, "stopping"], [stopped, "stopped"], [stuck, "cannot be stopped"], [unknown, "not read"]].filter(([number]) => number).map(([number, words]) => `${count(number)} ${words}`);
  show("f-machines", { text: `${count(running)} / ${count(all)}`, unit: "" }, rest.join(", ") || "all of them");
  byId("f-machines").dataset.kind = stuck ? "bad" : unknown ? "warn" : "plain";
  const manual = site.override;
  status("f-authority", AUTHORITY[site.authority] || ["warn", site.authority], manual ? `${manual.by}, ${seconds((manual.until_ms - site.now_ms) / 1000)} left` : null);
  show("f-commands", { text: count(site.commands_open), unit: "" });
  const effect = all === stopped ? "No machine is on now. A stop keeps all of them off until somebody resets it." : `Switches ${several(all - stopped, "machine")} off at once, ${kw(site.measured_kw)} kW. It stays off until somebody resets it.`;
  setText(byId("stop-effect"), site.state === "tripped" ? "Everything is off already. It stays off until somebody resets it." : effect);
}

// ---- Tables ----------------------------------------------------------------------------------------------------

const SEVERITIES = { emergency: ["bad", "■ emergency"], warning: ["warn", "▲ warning"], info: ["", "news"] };

function alarmsOf(site) {
  const all = Object.entries(site.alarms).map(([topic, said]) => ({ topic, ...said, age: seconds(since(site, said.said_ms)) }));
  const rank = { emergency: 0, warning: 1, info: 2 };
  return all.sort((one, other) => one.is_acknowledged - other.is_acknowledged || rank[one.severity] - rank[other.severity] || one.topic.localeCompare(other.topic));
}

const alarmColumns = [
  { name: "Severity", of: (row) => { const [kind, words] = SEVERITIES[row.severity] || ["warn", row.severity]; return tag(words, kind); } },
  { name: "What", wrap: true, of: (row) => [row.title, h("small", {}, ` · said ${row.age} ago`)] },
  { name: "", of: (row) => row.is_acknowledged ? h("span", { class: "unknown" }, "✓ acknowledged") : h("button", { type: "button", class: "small", disabled: !order.isOperator, "aria-label": `Acknowledge ${row.title}`, on: { click: () => acknowledge(row) } }, "Acknowledge") },
];

// What a page of a signal said last, and where it changed, the button of whoever looked at it.
function pageOf(row) {
  if (!row.layout) return "";
  const { expected, seen } = row.layout, answers = h("a", { href: `/api/v1/site/signals/${encodeURIComponent(row.name)}/evidence`, "aria-label": `Last answers of ${row.name}` }, "Answers");
  if (seen === null || seen === expected) return answers;
  return [answers, " ", h("button", { type: "button", class: "small", disabled: !order.isOperator, "aria-label": `Accept the new page of ${row.name}`, on: { click: () => acceptLayout(row) } }, "Accept the page")];
}

const signalColumns = [
  { name: "Signal", of: (row) => mono(row.name) },
  { name: "Says", wrap: true, of: (row) => { const [kind, words, more] = asked(row); return [kind ? tag(words, kind) : words, h("small", {}, ` ${[row.class, more].filter(Boolean).join(" · ")}`)]; } },
  { name: "Age", number: true, of: (row) => row.age },
  { name: "", wrap: true, of: pageOf },
];

function inputButton(row) {
  if (row.health === "bypassed") return h("button", { type: "button", class: "small", disabled: !order.isOperator, "aria-label": `Use ${row.name} again`, on: { click: () => endBypass(row) } }, "Use again");
  return h("button", { type: "button", class: "small", disabled: !order.isOperator, "aria-label": `Bypass ${row.name}`, on: { click: () => bypass(row) } }, "Bypass");
}

const inputColumns = [
  { name: "Input", wrap: true, of: (row) => mono(row.name) },
  { name: "Health", wrap: true, of: (row) => { const [kind, words] = HEALTH[row.health] || ["warn", row.health]; return [kind ? tag(words, kind) : words, row.why ? h("small", {}, ` ${row.why}`) : ""]; } },
  { name: "Value", number: true, of: (row) => row.value ?? DASH },
  { name: "Age", number: true, of: (row) => row.age },
  { name: "", of: inputButton },
];

function inputsOf(site) {
  const values = new Map(site.sensors.map((sensor) => [sensor.name, sensor.celsius === null ? null : `${celsius(sensor.celsius)} °C`]));
  values.set("meter/site", site.quality === "measured" ? `${kw(site.measured_kw)} kW` : null);
  return Object.entries(site.inputs).map(([name, input]) => ({
    name, health: input.health, value: values.get(name) ?? null, age: input.is_read ? seconds(since(site, input.last_ms)) : "never read",
    why: input.bypass ? `by ${input.bypass.by}, ${seconds((input.bypass.until_ms - site.now_ms) / 1000)} left: ${input.bypass.reason}` : input.fault,
  }));
}

function simulation(site) {
  const note = byId("simulation");
  note.hidden = site.authority !== "debug_sim";
  if (!note.hidden) setText(note, `SIMULATION: ${site.debug?.[0] ?? "somebody"} tries made-up values (see /debug.html). What is shown here is the real site.`);
}

let last = null;

watcher = watch({
  every: 1, area: byId("live"), ask: () => json("/api/v1/site"),
  failed: (error) => setText(byId("reason"), `${error.message}. ${error.hint || ""}`),
  show: (site) => {
    last = site;
    const alarms = alarmsOf(site);
    document.title = `${STATES[site.state]?.[1] ?? site.state} · ${site.site}`;
    setText(byId("name"), site.site);
    setText(byId("reason"), site.reason);
    simulation(site);
    ribbon(site, alarms);
    figures(site);
    order.show(site);
    setText(byId("alarms-note"), alarms.length ? `${count(alarms.length)}` : "");
    update(byId("alarms"), alarmColumns, alarms, { key: (row) => row.topic, empty: "No alarm stands." });
    setText(byId("line-note"), `${kw(site.measured_kw)} of ${kw(site.target_kw)} kW, built for ${kw(site.design_kw)} kW`);
    line.draw(byId("line"), site);
    power.add({ at_us: site.at_us, measured_kw: site.measured_kw, target_kw: site.target_kw });
    update(byId("caps"), capColumns, caps(site.winner, site.losers), { empty: "Nobody asks for anything." });
    setText(byId("air-note"), `fans start at the marks · ${AIR[site.thermal]?.[1] ?? ""}`);
    air.draw(byId("air"), site);
    air.list(byId("fans"), site.fan_list);
    update(byId("signals"), signalColumns, site.signals.map((row) => ({ ...row, age: seconds(row.age_s), age_s: null })), { key: (row) => row.name, empty: "No signal has been read yet." });
    update(byId("inputs"), inputColumns, inputsOf(site), { key: (row) => row.name, empty: "Nothing is read." });
  },
});

watch({
  every: 10, area: null, ask: () => json("/api/v1/site/history"),
  show: ({ samples }) => { power.all(samples, last?.design_kw ?? 0); setText(byId("power-note"), samples.length ? `kW, in your time, since ${clock(samples[0].at_us / 1000)} · the dashed line is the target` : ""); },
});
for (const [id, draw] of [["line", line.draw], ["air", air.draw]]) new ResizeObserver(() => last && draw(byId(id), last)).observe(byId(id));
