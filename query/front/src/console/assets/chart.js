// A chart: the server's drawing, taken into the page so that its colours are those of the theme, with the
// value under the pointer and a table of all values beside it.
import { h, json, request, watch } from "./console.js";
import { hashrate, plain, day, DASH } from "./format.js";
import { fill } from "./table.js";

// Where the plot stands in the drawing, as hashrate_chart.rs has it.
const LEFT = 64, RIGHT = 8;

const SPANS = [["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"], ["30d", "30 d"], ["1y", "1 y"]];

// `path` is the address of the numbers; the drawing is the same with `.svg`.
export function hashrateChart(section, path, query = {}) {
  const figure = section.querySelector(".chart"), details = section.querySelector("details");
  let span = "24h", series = null, seen = "";
  const cross = h("div", { class: "cross", hidden: true }), tip = h("div", { class: "tip", hidden: true });
  const holder = h("div", {});
  figure.replaceChildren(holder, cross, tip);
  const buttons = SPANS.map(([name, label]) => {
    const button = h("button", { type: "button", "aria-pressed": String(name === span) }, label);
    button.addEventListener("click", () => { choose(name); watcher.now(); });
    return button;
  });
  const choose = (name) => {
    span = name;
    SPANS.forEach(([other], n) => buttons[n].setAttribute("aria-pressed", String(other === name)));
    again = true;
  };
  let again = false;
  section.querySelector(".switch").replaceChildren(...buttons);

  const ask = async () => {
    const width = Math.max(240, Math.min(2000, Math.round(figure.clientWidth)));
    const words = new URLSearchParams({ ...query, span });
    const size = new URLSearchParams({ ...query, span, width, height: 220 });
    const [numbers, drawing] = await Promise.all([
      json(`${path}?${words}`),
      request(`${path}.svg?${size}`).then((answer) => answer.text()),
    ]);
    return { numbers, drawing };
  };
  let isFirst = true;
  const put = ({ numbers, drawing }) => {
    series = numbers;
    // What began an hour ago says nothing on the scale of a day.
    if (isFirst && numbers.points.length && numbers.to_s - numbers.points[0].at_s < 7200) {
      isFirst = false;
      choose("1h");
      return;
    }
    isFirst = false;
    if (drawing !== seen) {
      seen = drawing;
      const parsed = new DOMParser().parseFromString(drawing, "image/svg+xml").documentElement;
      const svg = document.importNode(parsed, true);
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", summary(numbers));
      holder.replaceChildren(svg);
    }
    if (details.open) list();
  };
  const list = () => {
    const rows = [...(series?.points || [])].reverse();
    fill(details.querySelector("table"), [
      { name: "From", of: (row) => day(row.at_s * 1000) },
      { name: "Hashrate", number: true, of: (row) => plain(hashrate(row.hashrate_hs)) },
    ], rows);
  };
  details.addEventListener("toggle", () => details.open && list());

  figure.addEventListener("pointermove", (event) => {
    if (!series?.points.length) return;
    const box = figure.getBoundingClientRect(), width = box.width - LEFT - RIGHT;
    const at = series.from_s + (event.clientX - box.left - LEFT) / width * (series.to_s - series.from_s);
    const near = series.points.reduce((best, point) => Math.abs(point.at_s - at) < Math.abs(best.at_s - at) ? point : best);
    const x = LEFT + (near.at_s - series.from_s) / (series.to_s - series.from_s) * width;
    cross.hidden = tip.hidden = false;
    cross.style.left = `${x}px`;
    tip.textContent = `${day(near.at_s * 1000)} · ${plain(hashrate(near.hashrate_hs))}`;
    tip.style.left = `${Math.min(Math.max(0, x + 8), box.width - tip.offsetWidth)}px`;
  });
  figure.addEventListener("pointerleave", () => { cross.hidden = tip.hidden = true; });
  const shown = async (answer) => {
    again = false;
    put(answer);
    if (again) put(await ask());
  };
  const watcher = watch({ every: 15, area: section, ask, show: shown, failed: (error) => {
    holder.replaceChildren(h("p", { class: "empty" }, error.message));
  } });
  let width = figure.clientWidth, wait = null;
  new ResizeObserver(() => {
    if (Math.abs(figure.clientWidth - width) < 8) return;
    width = figure.clientWidth;
    clearTimeout(wait);
    wait = setTimeout(() => watcher.now(), 200);
  }).observe(figure);
}

// The server's drawing of one worker's day, for a cell of a table.
export function sparkline(series) { return series ? spark(series.drawing, summary(series)) : DASH; }

// A small drawing of the server's, with the words for whoever does not see it.
export function spark(drawing, label) {
  const parsed = new DOMParser().parseFromString(drawing, "image/svg+xml").documentElement;
  const svg = document.importNode(parsed, true);
  svg.setAttribute("class", "spark");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return svg;
}

function summary({ points }) {
  if (!points.length) return "Hashrate over time: nothing yet.";
  const rates = points.map((point) => point.hashrate_hs);
  const at = (rate) => plain(hashrate(rate));
  return `Hashrate over time: from ${at(Math.min(...rates))} to ${at(Math.max(...rates))}, at the end ${at(rates.at(-1))}.`;
}
