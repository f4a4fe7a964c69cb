// The words and shapes of a site: states, kilowatts, and what a drawing is made of. What is normal is grey; colour is
// for what is not, and never stands without a word or a shape.
import { h } from "./console.js";
import { DASH } from "./format.js";

const NAMESPACE = "http://www.w3.org/2000/svg";

// An element of a drawing.
export function s(name, attributes, ...children) {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

// Kilowatts to a digit that counts at this size.
export function kw(value, digits) {
  if (value === null || value === undefined) return DASH;
  return value.toFixed(digits ?? (Math.abs(value) < 100 ? 1 : 0));
}

export const celsius = (value) => value === null || value === undefined ? DASH : value.toFixed(1);

// What the site does: its kind, its words.
export const STATES = {
  boot: ["", "started"], self_test: ["", "self-test"], hold_off: ["", "waiting to start"], restoring: ["", "starting machines"],
  running: ["", "running"], notice: ["warn", "event announced"], curtailing: ["warn", "curtailing"], curtailed: ["warn", "curtailed"],
  tripped: ["bad", "tripped"], lockout: ["bad", "locked out"],
};

export const AIR = {
  cold: ["warn", "cold"], normal: ["", "normal"], warm: ["warn", "warm"], hot: ["bad", "hot"], critical: ["bad", "critical"], unknown: ["warn", "not known"],
};

export const AUTHORITY = { auto: ["", "automatic"], manual: ["warn", "a person"], debug_sim: ["warn", "simulation"] };

// What a machine does, the worst first.
export const PHASES = {
  stuck: ["bad", "cannot be stopped"], unknown: ["warn", "not read"], stopping: ["", "stopping"], starting: ["", "starting"], stopped: ["", "stopped"], running: ["", "running"],
  lowering: ["", "going to low power"], raising: ["", "going to full power"],
};

export const HEALTH = { fresh: ["", "fresh"], late: ["warn", "late"], stale: ["bad", "lost"], failed: ["bad", "not believed"], bypassed: ["warn", "bypassed"] };

// Who asks, by the level of the arbiter.
export const LEVELS = ["lockout", "hard trip", "safety", "mandatory signal", "contract", "override", "economy", "design power"];

export function scopeText(scope) {
  if (scope === "site" || !scope) return "the whole site";
  const [[kind, name]] = Object.entries(scope);
  return `${kind} ${name}`;
}

// So many of a thing.
export const several = (number, noun) => `${number.toLocaleString("en-US")} ${noun}${number === 1 ? "" : "s"}`;

// A shape with its words.
export function sign([kind, words]) {
  return h("span", { class: "state" }, h("span", { class: "dot", "data-state": kind || "plain", "aria-hidden": "true" }), words);
}

// A moment as the controller writes it, in microseconds.
export const moment = (us) => us ? new Date(us / 1000).toISOString() : null;
