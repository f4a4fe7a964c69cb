// How much of a limit is used: a bar to 120 % with marks at 80, 95 and 100 %. Grey while that is normal.
import { h } from "./console.js";
import { DASH } from "./format.js";

const END = 120;
const STATES = { normal: ["", ""], warning: ["warn", "warning"], critical: ["bad", "critical"] };

// `level` is what the server says: normal, warning, critical, or nothing without a limit.
export function gauge(percent, level) {
  if (percent === null || percent === undefined) return h("span", { class: "unknown" }, DASH);
  const [state, word] = STATES[level] || ["", ""];
  const fill = h("span", { class: "fill" });
  fill.style.width = `${Math.min(Math.max(percent, 0), END) / END * 100}%`;
  const bar = h("span", { class: "gauge", "data-state": state, "aria-hidden": "true" }, fill, ...[80, 95, 100].map((mark) => h("span", { class: `mark at${mark}` })));
  return h("span", { class: "gauged" }, bar, h("span", { class: "value" }, `${percent.toFixed(percent >= 100 ? 0 : 1)} %`), word ? h("span", { class: "tag", "data-state": state }, `${state === "bad" ? "▲" : "△"} ${word}`) : "");
}

export const worst = (levels) => levels.includes("critical") ? "critical" : levels.includes("warning") ? "warning" : "normal";
