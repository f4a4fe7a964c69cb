// Who asks for what, and who wins.
import { h } from "./console.js";
import { clock } from "./format.js";
import { kw, LEVELS, scopeText } from "./site-shape.js";
import { tag } from "./table.js";

// The caps of a decision for a table, the one that decides first.
export function caps(winner, losers) {
  return [...(winner ? [{ ...winner, wins: true }] : []), ...losers.map((cap) => ({ ...cap, wins: false }))];
}

export const capColumns = [
  { name: "", of: (row) => row.wins ? tag("decides", "accent") : h("span", { class: "unknown" }, "yields") },
  { name: "At most", number: true, of: (row) => `${kw(row.kw)} kW` },
  { name: "Who, and why", wrap: true, of: (row) => [`${row.level} ${LEVELS[row.level] ?? ""}`, h("small", {}, `${row.scope === "site" ? "" : `${scopeText(row.scope)}: `}${row.reason}${row.expires_us ? `, until ${clock(row.expires_us / 1000)}` : ""}`)] },
];
