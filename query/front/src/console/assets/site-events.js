// The page of curtailments that are over, with their scores and reports.
import { byId, h, json, open, setText, watch } from "./console.js";
import { count, day, seconds, DASH } from "./format.js";
import { LEVELS, kw } from "./site-shape.js";
import { mono, tag, update } from "./table.js";

const STEP = 50, MOST = 200;

await open("/site/events");
let wanted = STEP;

const FORMS = [["html", "page"], ["pdf", "PDF"], ["csv", "CSV"]];
const known = (value, digits, unit = "") => value === null || value === undefined ? DASH : `${value.toFixed(digits)}${unit}`;

function reports(row) {
  const link = ([form, words]) => h("a", { href: `/api/v1/site/events/${encodeURIComponent(row.id)}/report.${form}`, "aria-label": `Report of event ${row.id} as ${words}` }, words);
  return FORMS.flatMap((form, at) => at ? [" ", link(form)] : [link(form)]);
}

const COLUMNS = [
  { name: "Asked", of: ({ scored }) => day(scored.event.asked_at.utc_us / 1000) },
  { name: "Reports", of: reports },
  { name: "Event", of: (row) => mono(row.id) },
  { name: "Who", of: ({ scored }) => `${scored.signal} (${LEVELS[scored.level] ?? DASH})` },
  { name: "Target", number: true, of: ({ scored }) => `${kw(scored.event.target_kw)} kW` },
  { name: "Before", number: true, of: ({ scored }) => `${kw(scored.event.baseline_kw)} kW` },
  { name: "Lasted", number: true, of: ({ scored }) => seconds((scored.event.released_at.elapsed_ms - scored.event.asked_at.elapsed_ms) / 1000) },
  { name: "To target", number: true, of: ({ scored }) => known(scored.card.target_s, 1, " s") },
  { name: "Under target", number: true, of: ({ scored }) => known(scored.card.compliance_pct, 1, " %") },
  { name: "Factor", number: true, of: ({ scored }) => known(scored.card.performance_factor, 3) },
  { name: "Restored", number: true, of: ({ scored }) => seconds(scored.card.restore_t95_s) },
  { name: "Lost", number: true, of: ({ scored }) => known(scored.card.lost_ths_h, 1, " TH/s·h") },
  { name: "Power", of: ({ scored }) => scored.is_estimated ? tag("estimated", "warn") : "metered" },
];

function put({ events, kept }) {
  setText(byId("events-note"), `${count(events.length)} of ${count(kept)} kept`);
  byId("events-older").hidden = wanted >= MOST || events.length >= kept;
  update(byId("events"), COLUMNS, events, { key: (row) => row.id, empty: "Nobody asked for less power yet, or the first event is not over." });
}

const ask = () => json(`/api/v1/site/events?limit=${wanted}`);
byId("events-older").addEventListener("click", async () => {
  wanted = Math.min(MOST, wanted + STEP);
  put(await ask());
});

watch({
  every: 10, area: byId("events-area"), ask, show: put,
  failed: (error) => setText(byId("events-lede"), `${error.message}. ${error.hint || ""}`),
});
