// Orders of people: override, lockout, reset of a trip, bypass of an input, acknowledgement of an alarm, a page's new layout.
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

// A page of a signal that changed: whoever looked at it says that the number still means the same.
export function acceptLayout({ name, layout: { seen } }) {
  ask({ title: `Accept the new page of ${name}`, text: `The tags around the number are others than before (layout ${seen}). Look at the page, and at its last answers: does the number still mean the same?`, button: "Accept" },
    (reason) => give("POST", `signals/${encodeURIComponent(name)}/accept-layout`, { layout: seen, reason, by: giver() }, `The new page of ${name} is accepted.`));
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
  if (!(value >= 0)) { text.textContent = ""; return; }
  if (byId("override-scope").value !== "site") {
    text.textContent = value > 0 ? `Machines of this feeder stay on while their rated power is at most ${kw(value)} kW, the most efficient first; the others are switched off.` : "Everything on this feeder is switched off.";
    return;
  }
  const seen = await json(`/api/v1/site/override/preview?cap_kw=${value}`).catch(() => null);
  if (!seen) { text.textContent = "What it would stop cannot be said now."; return; }
  const isOther = seen.winner && seen.winner.level !== 5;
  const held = isOther ? ` ${LEVELS[seen.winner.level]} decides (${seen.winner.reason}), and an override does not change that.` : "";
  const names = seen.stops.slice(0, 6).join(", ") + (seen.stops.length > 6 ? " …" : "");
  const stops = seen.stops.length ? `stops ${several(seen.stops.length, "machine")} (${names}): about ${kw(seen.stops_kw)} kW, ${count(Math.round(seen.stops_ths))} TH/s` : "stops no machine";
  const lows = seen.lows.length ? `, sets ${several(seen.lows.length, "machine")} to low power` : "";
  text.textContent = `As of now: target ${kw(seen.target_kw)} kW, ${stops}${lows}.${held}`;
}

// The override of the chosen scope; of another where there is none.
function chosen() {
  const all = site?.overrides ?? [], wanted = JSON.stringify(scope("override-scope"));
  return all.find((one) => JSON.stringify(one.scope) === wanted) ?? all[0];
}

function overrideNow({ overrides, now_ms: now }) {
  const manual = chosen(), isSame = manual && JSON.stringify(manual.scope) === JSON.stringify(scope("override-scope"));
  byId("override-end").hidden = !manual;
  setText(byId("override-end"), overrides.length > 1 ? `End that of ${scopeText(manual.scope)}` : "End it now");
  setText(byId("override-go"), isSame ? "Replace it" : "Override");
  const said = overrides.map((one) => `${scopeText(one.scope)} at most ${kw(one.cap_kw)} kW, by ${one.by}: ${one.reason}. It ends in ${seconds((one.until_ms - now) / 1000)}, at ${clock(one.until_us / 1000)}.`);
  setText(byId("override-now"), said.length ? `In force: ${said.join(" ")}` : "None is in force. It ends by itself, and never lifts what safety, a duty or a contract asks.");
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
  byId("override-scope").addEventListener("change", () => { if (site) overrideNow(site); });
  byId("override").addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = { cap_kw: byId("override-kw").valueAsNumber, for_s: Number(byId("override-for").value), reason: byId("override-reason").value, scope: scope("override-scope"), by: giver() };
    if (await give("POST", "override", body, "The override is in force.")) { byId("override-reason").value = ""; byId("override-preview").textContent = ""; }
  });
  byId("override-end").addEventListener("click", () => give("DELETE", "override", { by: giver(), scope: chosen()?.scope }, "The override has ended."));
  byId("lockout").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await give("POST", "lockout", { reason: byId("lockout-reason").value, scope: scope("lockout-scope"), by: giver() }, "It is locked out.")) byId("lockout-reason").value = "";
  });
  byId("reset").addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await give("POST", "reset", { reason: byId("reset-reason").value, by: giver() });
    if (answer) { byId("reset-reason").value = ""; say("The trip was reset; machines are started again."); }
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
