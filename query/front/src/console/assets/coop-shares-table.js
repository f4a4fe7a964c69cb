// How shares stand in a table: the coordinator's verdict and the pool's.
import { h } from "./console.js";
import { count, seconds, DASH } from "./format.js";
import { mono, numbered, tag } from "./table.js";

const LOCAL = { right: ["good", "right"], believed: ["", "believed"], wrong: ["bad", "wrong"], unchecked: ["warn", "not checked"] };
const UPSTREAM = { accepted: ["good", "accepted"], refused: ["bad", "refused"], unsent: ["warn", "too late"], unanswered: ["warn", "no answer"] };

function verdict(words, of) {
  const [state, text] = words[of] || ["", of];
  return tag(text, state);
}

export const shareColumns = [
  { name: "When", of: (row) => `${seconds(row.age_s)} ago` },
  { name: "Worker", of: (row) => mono(row.worker) },
  { name: "Job", of: (row) => numbered(row.job) },
  { name: "Nonce", of: (row) => mono(row.nonce) },
  { name: "Difficulty", number: true, of: (row) => count(row.difficulty) },
  { name: "Recomputed here", of: (row) => verdict(LOCAL, row.local_verdict) },
  { name: "The pool", of: (row) => row.upstream_verdict ? verdict(UPSTREAM, row.upstream_verdict) : h("span", { class: "unknown" }, "not for it") },
  { name: "Reason", wrap: true, of: (row) => row.reason || DASH },
];
