// Orders of people: override, lockout, reset of a trip, bypass of an input, acknowledgement of an alarm.
import { byId, canOperate, h, json, remember, remembered, say, send, setText } from "./console.js";
import { clock, count, seconds } from "./format.js";
import { kw, LEVELS, scopeText, several } from "./site-shape.js";

const TIMES = [[900, "15 min"], [1800, "30 min"], [3600, "1 h"], [7200, "2 h"], [14400, "4 h"], [28800, "8 h"], [43200, "12 h"], [86400, "24 h"]];
const by = byId("by");
by.value = remembered("headframe-operator") || "";
by.addEventListener("input", () => remember("headframe-operator", by.value.trim()));

// Who gives an order, as he wrote it.
export const giver = () => by.value.trim() || null;

let site = null, refresh = () => null;

// Gives an order; what is refused is said, and `true` comes back when it was taken.
async function give(method, path, body, done) {
  const note = byId("order");
  try {
    const answer = await send(method, `/api/v1/site/${path}`, body);
    note.hidden = true;
    if (done) say(done);
    return answer;
  } catch (error) {
    note.dataset.state = "bad";
    note.hidden = false;
    note.textContent = `${error.message}${error.hint ? `. ${error.hint}` : ""}`;
    note.scrollIntoView({ block: "nearest" });
    return null;
  } finally { refresh(); }
}

function complain(text) {
  const note = byId("order");
  note.dataset.state = "warn";
  note.hidden = false;
  note.textContent = text;
}

// Asks for a reason, and for minutes where `minutes` is given.
function ask({ title, text, button, minutes }, run) {
  const dialog = byId("ask");
  byId("ask-title").textContent = title;
  byId("ask-text").textContent = text;
  byId("ask-go").textContent = button;
  byId("ask-minutes-row").hidden = !minutes;
  byId("ask-reason").value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  byId("ask-reason").focus();
  dialog.onclose = () => { if (dialog.returnValue === "yes") run(byId("ask-reason").value, byId("ask-minutes").valueAsNumber * 60); };
}

export const acknowledge = (alarm) => give("POST", `notices/${alarm.notice}/acknowledge`, { by: giver() }, `Acknowledged: ${alarm.title}`);

export function bypass(input) {
  ask({ title: `Bypass ${input.name}`, text: "It is not used until the time is over. Whatever it guards is guarded by you.", button: "Bypass", minutes: true },
    (reason, forS) => give("POST", "bypass", { input: input.name, for_s: forS, reason, by: giver() }, `${input.name} is bypassed.`));
}

export const endBypass = (input) => give("DELETE", "bypass", { input: input.name }, `${input.name} is used again.`);

function scope(id) { const value = byId(id).value; return value === "site" ? "site" : { feeder: value }; }

function scopes(id, groups) {
  const names = ["site", ...groups.map((group) => group.feeder).filter(Boolean)], select = byId(id);
  if (select.options.length === names.length) return;
  select.replaceChildren(...names.map((name) => h("option", { value: name }, name === "site" ? "the whole site" : `feeder ${name}`)));
}

// ---- Override -----------------------------------------------------------------------------------------------

let wait = null;
async function preview() {
  const text = byId("override-preview"), value = byId("override-kw").valueAsNumber;
  if (byId("override-scope").value !== "site") { text.textContent = "Everything on this feeder is switched off."; return; }
  if (!(value >= 0)) { text.textContent = ""; return; }
  const seen = await json(`/api/v1/site/override/preview?cap_kw=${value}`).catch(() => null);
  if (!seen) { text.textContent = "What it would stop cannot be said now."; return; }
  const isOther = seen.winner && seen.winner.level !== 5;
  const held = isOther ? ` ${LEVELS[seen.winner.level]} decides (${seen.winner.reason}), and an override does not change that.` : "";
  const names = seen.stops.slice(0, 6).join(", ") + (seen.stops.length > 6 ? " …" : "");
  const stops = seen.stops.length ? `stops ${several(seen.stops.length, "machine")} (${names}): about ${kw(seen.stops_kw)} kW, ${count(Math.round(seen.stops_ths))} TH/s` : "stops no machine";
  text.textContent = `As of now: target ${kw(seen.target_kw)} kW, ${stops}.${held}`;
}

function overrideNow({ override: manual, now_ms: now }) {
  byId("override-end").hidden = !manual;
  setText(byId("override-go"), manual ? "Replace it" : "Override");
  setText(byId("override-now"), manual
    ? `In force: ${scopeText(manual.scope)} at most ${kw(manual.cap_kw)} kW, by ${manual.by}: ${manual.reason}. It ends in ${seconds((manual.until_ms - now) / 1000)}, at ${clock(manual.until_us / 1000)}.`
    : "None is in force. It ends by itself, and never lifts what safety, a duty or a contract asks.");
}

function lockouts(list, isOperator) {
  const signature = JSON.stringify(list), element = byId("lockouts");
  if (element.dataset.rows === signature) return;
  element.dataset.rows = signature;
  element.replaceChildren(...list.map((one) => h("li", { "data-state": "bad" }, h("span", { class: "sign", "aria-hidden": "true" }, "■"),
    h("span", {}, `${scopeText(one.scope)}: ${one.reason} `, h("small", {}, one.by), h("button", { type: "button", class: "small", disabled: !isOperator, on: { click: () => unlock(one) } }, "Remove")))));
}

function unlock(one) {
  ask({ title: `Remove the lock on ${scopeText(one.scope)}`, text: `${one.by} set it: ${one.reason}. Sign with the same name.`, button: "Remove" }, async (reason) => {
    await give("DELETE", "lockout", { reason, scope: one.scope, by: giver() });
    const still = (await json("/api/v1/site")).lockouts.some((other) => JSON.stringify(other) === JSON.stringify(one));
    if (still) complain(`The lock stands: only ${one.by.replace(/ \(.*\)$/, "")} removes it.`);
  });
}

// ---- What stands --------------------------------------------------------------------------------------------

function trips(seen) {
  const all = Object.entries(seen.trips), list = byId("trips"), isReady = seen.reset_in_s === 0;
  byId("trip-area").hidden = all.length === 0;
  const signature = JSON.stringify(all.map(([cause, latch]) => [cause, latch.detail]));
  if (list.dataset.rows !== signature) {
    list.dataset.rows = signature;
    list.replaceChildren(...all.map(([cause, latch]) => h("li", { "data-state": "bad" }, h("span", { class: "sign", "aria-hidden": "true" }, "■"), h("span", {}, latch.detail, h("small", {}, `${cause.replaceAll("_", " ")} at ${clock(latch.at.utc_us / 1000)}`)))));
  }
  const rest = seen.reset_in_s === null ? "Its cause is still there." : isReady ? "Its cause is gone. Look at the site before you reset it." : `Its cause is gone; it can be reset in ${seconds(seen.reset_in_s)}.`;
  setText(byId("reset-note"), rest);
  return isReady;
}

export async function orders(refreshNow) {
  refresh = refreshNow;
  const isOperator = await canOperate;
  byId("reader").hidden = isOperator;
  for (const id of ["override-go", "override-end", "lockout-go", "reset-go"]) byId(id).disabled = !isOperator;
  for (const id of ["override-kw", "override-scope"]) byId(id).addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(preview, 200); });
  byId("override-scope").addEventListener("change", () => {
    const isPart = byId("override-scope").value !== "site";
    byId("override-kw").disabled = isPart;
    if (isPart) byId("override-kw").value = "0";
  });
  byId("override").addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = { cap_kw: byId("override-kw").valueAsNumber, for_s: Number(byId("override-for").value), reason: byId("override-reason").value, scope: scope("override-scope"), by: giver() };
    if (await give("POST", "override", body, "The override is in force.")) { byId("override-reason").value = ""; byId("override-preview").textContent = ""; }
  });
  byId("override-end").addEventListener("click", () => give("DELETE", "override", null, "The override has ended."));
  byId("lockout").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await give("POST", "lockout", { reason: byId("lockout-reason").value, scope: scope("lockout-scope"), by: giver() }, "It is locked out.")) byId("lockout-reason").value = "";
  });
  byId("reset").addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await give("POST", "reset", { reason: byId("reset-reason").value, by: giver() });
    if (answer && answer.state.power === "tripped") complain("The trip stands. Its cause has not been gone for long enough, or a second person must reset it, too.");
    else if (answer) { byId("reset-reason").value = ""; say("The trip was reset; machines are started again."); }
  });
  return {
    isOperator,
    show: (seen) => {
      const isFirst = site === null;
      site = seen;
      if (isFirst) {
        const times = TIMES.filter(([length]) => length <= seen.override_max_s), usual = seen.override_default_s;
        byId("override-for").replaceChildren(...times.map(([length, words]) => h("option", { value: length, selected: length === usual }, words)));
      }
      scopes("override-scope", seen.groups);
      scopes("lockout-scope", seen.groups);
      overrideNow(seen);
      lockouts(seen.lockouts, isOperator);
      byId("reset-go").disabled = !trips(seen) || !isOperator;
    },
  };
}
