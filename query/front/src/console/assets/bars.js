// Sums by the hour or by the day: the server's drawing, and a table of its values beside it.
import { h, json, request, watch } from "./console.js";
import { energy, percent, plain, seconds } from "./format.js";
import { fill } from "./table.js";

// `path` answers the rows, and with `.svg` the drawing; `label` writes the time of a row.
export function barChart(section, { path, query, drawn, label, noun }) {
  const figure = section.querySelector(".chart"), details = section.querySelector("details");
  const holder = h("div", {});
  figure.replaceChildren(holder);
  let isOver = false, seen = "", rows = [];
  const list = () => fill(details.querySelector("table"), [
    { name: noun, of: label },
    { name: "Energy", number: true, of: (row) => plain(energy(row.energy_wh)) },
    { name: "Mean power", number: true, of: (row) => row.power_mean_w === null ? "–" : `${plain(energy(row.power_mean_w)).replace("Wh", "W")}` },
    { name: "Measured", number: true, of: (row) => { const part = row.covered_s * 1000 / (Date.parse(row.to) - Date.parse(row.from)); return part > 0.98 ? "all of it" : `${percent(part)}, ${seconds(row.covered_s)}`; } },
  ], [...rows].reverse(), { empty: "Nothing was measured." });
  const toggled = () => details.open && list();
  details.addEventListener("toggle", toggled);
  const watcher = watch({
    every: 60, area: section,
    ask: async () => {
      const size = { width: Math.max(240, Math.min(2000, Math.round(figure.clientWidth))), height: 200 };
      const [numbers, drawing] = await Promise.all([
        json(`${path}?${new URLSearchParams(query())}`),
        request(`${path}.svg?${new URLSearchParams({ ...query(), ...drawn, ...size })}`).then((answer) => answer.text()),
      ]);
      return { numbers, drawing };
    },
    failed: (error) => { if (!isOver) holder.replaceChildren(h("p", { class: "empty" }, error.message)); },
    show: ({ numbers, drawing }) => {
      if (isOver) return;
      rows = numbers.rows;
      if (seen !== drawing) {
        seen = drawing;
        const svg = document.importNode(new DOMParser().parseFromString(drawing, "image/svg+xml").documentElement, true);
        const sum = rows.reduce((all, row) => all + (row.energy_wh || 0), 0);
        svg.setAttribute("role", "img");
        svg.setAttribute("aria-label", rows.length ? `${section.querySelector("h2").textContent}: ${plain(energy(sum))} in all.` : "Nothing was measured.");
        holder.replaceChildren(svg);
      }
      if (details.open) list();
    },
  });
  return { stop: () => { isOver = true; watcher.stop(); details.removeEventListener("toggle", toggled); } };
}
