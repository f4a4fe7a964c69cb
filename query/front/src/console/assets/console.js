// What all pages share: elements, requests, what the link to the server is like, who is signed in.
import { clock, day, seconds, DASH } from "./format.js";

export const byId = (id) => document.getElementById(id);

// An element; text is text and never markup.
export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, run] of Object.entries(value)) element.addEventListener(event, run);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function say(text) { byId("said").textContent = text; }

// A time that says how long ago it was, and goes on saying so.
export function ago(time, suffix = " ago") {
  if (!time) return h("span", { class: "unknown" }, DASH);
  const text = (Date.now() - Date.parse(time)) / 1000;
  return h("time", { datetime: time, title: day(time), "data-ago": suffix }, seconds(text) + suffix);
}

export function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

// Puts a value with its unit into an element, and marks that it changed.
export function show(id, { text, unit }, small) {
  const element = byId(id);
  const signature = `${text}|${unit}|${small ?? ""}`;
  if (!element || element.dataset.value === signature) return;
  const changed = element.dataset.value !== undefined;
  element.dataset.value = signature;
  element.classList.remove("unknown");
  element.replaceChildren(
    h("span", { class: text === DASH ? "unknown" : changed ? "changed" : "" }, text),
    unit ? h("span", { class: "unit" }, unit) : "",
    small ? h("small", {}, small) : "",
  );
}

// ---- Requests ---------------------------------------------------------------------------------------

export class Refusal extends Error {
  constructor(status, error) {
    super(error.message || `the server answers ${status}`);
    Object.assign(this, { status, code: error.code, hint: error.hint });
  }
}

// Milliseconds after which nobody waits for an answer any more, unless the caller says otherwise.
const PATIENCE = 20000;

export async function request(url, options = {}) {
  const asked = { credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE), ...options };
  const answer = await fetch(url, asked).catch((error) => { throw Object.assign(error, error instanceof TypeError ? { isOfRequest: true } : {}); });
  if (!answer.ok) {
    let error = {};
    try { error = (await answer.json()).error || {}; } catch { /* It is no JSON; the status says enough. */ }
    throw new Refusal(answer.status, error);
  }
  return answer;
}

export const json = async (url, options) => (await request(url, options)).json();

export function send(method, url, body) {
  return json(url, { method, headers: body ? { "Content-Type": "application/json" } : {}, body: body ? JSON.stringify(body) : undefined });
}

export const sql = (statement, params, more) => send("POST", "/api/v1/sql", { sql: statement, params: params || [], ...more });

// ---- What is watched ----------------------------------------------------------------------------------

const watched = new Set();
let lastAnswer = null;
let lostSince = null;
let timer = null;

// Asks again and again while the page is seen, and shows what comes. `area` is greyed with its age
// when no answer came for three times as long as it should have.
export function watch({ every, area, ask, show: put, failed }) {
  const entry = { every: every * 1000, area, ask, put, failed, due: 0, at: null, busy: false };
  watched.add(entry);
  run(entry);
  timer ??= setInterval(tick, 1000);
  return { now: () => run(entry), stop: () => watched.delete(entry) };
}

// The same for an area whose values come by themselves: greyed when none came for a while, or at once when it is known
// that none can come.
export function keepUp(area) {
  const entry = { every: 5000, area, at: Date.now(), due: Infinity };
  watched.add(entry);
  timer ??= setInterval(tick, 1000);
  const put = (isLost, at = entry.at) => { Object.assign(entry, { isLost, at }); age(entry); };
  return { fresh: () => put(false, Date.now()), lost: () => put(true), stop: () => { watched.delete(entry); put(false, Date.now()); } };
}

async function run(entry) {
  if (entry.busy) return;
  entry.busy = true;
  entry.due = Date.now() + entry.every;
  await turn();
  try {
    const answer = await entry.ask();
    entry.at = lastAnswer = Date.now();
    found();
    // A fault of the page itself is no fault of the server.
    try { await entry.put(answer); } catch (error) { if (isLoss(error)) throw error; console.error(error); }
  } catch (error) {
    refused(entry, error);
  } finally {
    pass();
    entry.busy = false;
    age(entry);
  }
}

// A page asks for few things at once, so that it leaves the server's slots to others.
const TURNS = 3;
let taken = 0;
const waiting = [];

function turn() {
  if (taken < TURNS) { taken += 1; return Promise.resolve(); }
  return new Promise((resolve) => { waiting.push(resolve); });
}

function pass() {
  const next = waiting.shift();
  if (next) next(); else taken -= 1;
}

// Whether a request itself came to nothing. Other faults of a type are the page's own.
function isLoss(error) {
  return error instanceof Refusal || error.isOfRequest || error.name === "TimeoutError" || error.name === "AbortError";
}

function refused(entry, error) {
  if (error instanceof Refusal && ![502, 503].includes(error.status)) {
    // It answers, if not with what was wanted; what is shown grows old by itself.
    lastAnswer = Date.now();
    found();
    if (error.status === 401 && leadsToSignIn()) return;
    if (error.status === 429 || error.status >= 500) { soon(entry); return; }
    entry.at = Date.now();
    entry.failed?.(error);
  } else if (error instanceof Refusal || error.isOfRequest) {
    lost();
    soon(entry);
  } else if (isLoss(error)) {
    if (Date.now() - (lastAnswer ?? 0) > PATIENCE / 2) lost();
    soon(entry);
  } else {
    console.error(error);
  }
}

// What a page cannot begin without: asked for until the server has said it, or that there is none.
async function needed(url) {
  for (;;) {
    try {
      const answer = await json(url);
      lastAnswer = Date.now();
      found();
      return answer;
    } catch (error) {
      if (error instanceof Refusal && error.status < 500 && error.status !== 429) return null;
      if (!(error instanceof Refusal)) lost();
      await new Promise((resolve) => { setTimeout(resolve, 2000); });
    }
  }
}

// Not all pages at once: a server that comes back has enough to do.
function soon(entry) { entry.due = Date.now() + 2000 + Math.random() * 1000; }

function tick() {
  const now = Date.now();
  if (document.visibilityState === "visible") {
    for (const entry of watched) if (now >= entry.due) run(entry);
  }
  for (const entry of watched) age(entry);
  for (const time of document.querySelectorAll("time[data-ago]")) {
    setText(time, seconds((now - Date.parse(time.dateTime)) / 1000) + time.dataset.ago);
  }
  state();
}

function age(entry) {
  if (!entry.area) return;
  const since = entry.at === null ? null : Date.now() - entry.at;
  const stale = entry.isLost || (since !== null && since > Math.max(3 * entry.every, 10000));
  let label = entry.area.querySelector(":scope > .age, :scope > header .age");
  if (!stale) { delete entry.area.dataset.stale; label?.remove(); return; }
  entry.area.dataset.stale = "";
  if (!label) {
    label = h("span", { class: "age" });
    const header = entry.area.querySelector(":scope > header");
    header ? header.append(label) : entry.area.before(label) ?? entry.area.append(label);
  }
  setText(label, `${seconds(since / 1000)} old`);
}

function lost() { lostSince ??= Date.now(); state(); }

function found() {
  if (lostSince !== null) { say("The server answers again."); lookForNewer(); }
  lostSince = null;
  state();
}

// After a restart another program may answer; its pages are had by loading this one again.
async function lookForNewer() {
  const before = await visitor;
  const now = await json("/api/v1/console").catch(() => null);
  if (!now || !before.digest || now.digest === before.digest || byId("newer")) return;
  const again = h("button", { type: "button", class: "small", on: { click: () => location.reload() } }, "Load it");
  byId("main").prepend(h("p", { class: "notice", id: "newer" }, "A newer console is here. ", again));
}

function state() {
  const link = byId("link"), banner = byId("lost");
  if (!link) return;
  if (lostSince !== null) {
    link.dataset.state = "lost";
    setText(byId("link-text"), "no answer");
    const of = lastAnswer ? ` What you see is of ${clock(lastAnswer)}.` : "";
    const text = `The server has not answered for ${seconds((Date.now() - lostSince) / 1000)}.${of} This page goes on by itself when it is back.`;
    if (banner.hidden) { banner.hidden = false; banner.textContent = text; } else setText(banner, text);
  } else {
    banner.hidden = true;
    link.dataset.state = lastAnswer ? "live" : "wait";
    setText(byId("link-text"), lastAnswer ? "live" : "connecting");
  }
}

// ---- Who is signed in -----------------------------------------------------------------------------------

let leading = false;

// A page whose data need a reader leads to where one signs in, once.
function leadsToSignIn() {
  if (leading || location.pathname === "/sign-in") return leading;
  leading = true;
  location.replace(`/sign-in?to=${encodeURIComponent(location.pathname + location.search)}`);
  return true;
}

// As the browser itself understands the address: it leaves out tabs and line feeds, and more.
function pageOfThisServer(text) {
  const address = text && URL.canParse(text, location.origin) ? new URL(text, location.origin) : null;
  return address?.origin === location.origin ? address.href : null;
}

// The page that led to the sign-in, where it is one of this server.
export function wantedPage() { return pageOfThisServer(new URLSearchParams(location.search).get("to")); }

// Who asks, and which pages are open to him.
export const visitor = needed("/api/v1/console").then((answer) => answer || { principal: null, may_operate: false, may_manage_accounts: false, pages: [], digest: null });

// A page whose data the visitor may not read leads to where he can sign in, before it asks for any.
export async function open(path) {
  const { pages } = await visitor;
  if (pages.length && !pages.includes(path) && leadsToSignIn()) await new Promise(() => {});
}

// A page that watches nothing of its own watches whether the server answers.
export function watchServer() { watch({ every: 5, area: null, ask: () => request("/live"), show: () => null }); }

export const canOperate = visitor.then((who) => who.may_operate);
export const canManageAccounts = visitor.then((who) => who.may_manage_accounts);

visitor.then(({ principal, pages }) => {
  const account = byId("account");
  if (!account) return;
  for (const link of document.querySelectorAll(".top nav a")) {
    link.hidden = pages.length > 0 && !pages.includes(link.getAttribute("href")) && !link.hasAttribute("aria-current");
  }
  document.querySelector(".top nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
  if (principal?.role === "miner") {
    const own = document.querySelector('nav a[href="/miner"]');
    if (own) own.href = `/miner/${encodeURIComponent(principal.address)}`;
  }
  if (principal?.proof === "session") {
    const out = h("button", { type: "button", class: "quiet", on: { click: async () => {
      await send("POST", "/api/v1/logout").catch(() => null);
      location.href = "/";
    } } }, "Sign out");
    account.replaceChildren(h("span", { title: principal.role }, principal.name), out);
  } else if (location.pathname !== "/sign-in") {
    account.replaceChildren(h("a", { href: `/sign-in?to=${encodeURIComponent(location.pathname + location.search)}` }, "Sign in"));
  }
});

// ---- Theme ------------------------------------------------------------------------------------------------

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function nameTheme() {
  const button = byId("theme");
  button.textContent = isDark() ? "Light" : "Dark";
  button.setAttribute("aria-label", `Change to the ${isDark() ? "light" : "dark"} theme`);
}

if (byId("theme")) {
  byId("theme").addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    remember("headframe-theme", next);
    nameTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
  nameTheme();
}

export function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* Without storage it holds for this page. */ }
}

export function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

// A button that copies what `text` returns.
export function copyButton(text, label = "Copy") {
  const button = h("button", { type: "button", class: "small" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
      say("Copied");
    } catch {
      button.textContent = "Select and copy";
    }
    setTimeout(() => { button.textContent = label; }, 1600);
  });
  return button;
}

// The terms of the pool, which change with a restart only.
export const terms = () => needed("/api/v1/pool/terms");
