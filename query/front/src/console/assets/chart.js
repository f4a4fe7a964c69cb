// A chart: the server's drawing, taken into the page so that its colours are those of the theme, with the
// value under the pointer and a table of all values beside it.
import { h, json, request, watch } from "./console.js";
import { hashrate, plain, day, DASH } from "./format.js";
import { fill } from "./table.js";

// Where the plot stands in the drawing, as chart_axis.rs has it.
const LEFT = 64, RIGHT = 8;

const SPANS = [["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"], ["30d", "30 d"], ["1y", "1 y"]];

export const hashrateChart = (section, path, query = {}) => timeChart(section, { path, query, noun: "Hashrate", value: "hashrate_hs", format: hashrate });

// `path` is the address of the numbers; the drawing is the same with `.svg`. Of a point, `value` is the quantity, and
// `format` writes it. Without `spans` there is nothing to choose. `shown` is given the numbers.
export function timeChart(section, { path, query = {}, noun, value, format, spans = SPANS, every = 15, shown: tell }) {
  const figure = section.querySelector(".chart"), details = section.querySelector("details");
  let span = "24h", series = null, seen = "";
  const cross = h("div", { class: "cross", hidden: true }), tip = h("div", { class: "tip", hidden: true });
  const holder = h("div", {});
  const gone = new AbortController();
  figure.replaceChildren(holder, cross, tip);
  const buttons = spans.map(([name, label]) => {
    const button = h("button", { type: "button", "aria-pressed": String(name === span) }, label);
    button.addEventListener("click", () => { choose(name); watcher.now(); });
    return button;
  });
  const choose = (name) => {
    span = name;
    spans.forEach(([other], n) => buttons[n].setAttribute("aria-pressed", String(other === name)));
    again = true;
  };
  let again = false;
  section.querySelector(".switch")?.replaceChildren(...buttons);
  const spanned = () => spans.length ? { ...query, span } : query;

  const ask = async () => {
    const width = Math.max(240, Math.min(2000, Math.round(figure.clientWidth)));
    const words = new URLSearchParams(spanned());
    const size = new URLSearchParams({ ...spanned(), width, height: 220 });
    const [numbers, drawing] = await Promise.all([
      json(`${path}?${words}`),
      request(`${path}.svg?${size}`).then((answer) => answer.text()),
    ]);
    return { numbers, drawing };
  };
  let isFirst = true;
  const put = ({ numbers, drawing }) => {
    if (gone.signal.aborted) return;
    series = numbers;
    // What began an hour ago says nothing on the scale of a day.
    if (isFirst && spans.length && numbers.points.length && numbers.to_s - numbers.points[0].at_s < 7200) {
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
      svg.setAttribute("aria-label", summary(numbers, noun, value, format));
      holder.replaceChildren(svg);
    }
    tell?.(numbers);
    if (details.open) list();
  };
  const list = () => {
    const rows = [...(series?.points || [])].reverse();
    fill(details.querySelector("table"), [
      { name: "From", of: (row) => day(row.at_s * 1000) },
      { name: noun, number: true, of: (row) => plain(format(row[value])) },
    ], rows);
  };
  details.addEventListener("toggle", () => details.open && list(), { signal: gone.signal });

  figure.addEventListener("pointermove", (event) => {
    if (!series?.points.length) return;
    const box = figure.getBoundingClientRect(), width = box.width - LEFT - RIGHT;
    const at = series.from_s + (event.clientX - box.left - LEFT) / width * (series.to_s - series.from_s);
    const near = series.points.reduce((best, point) => Math.abs(point.at_s - at) < Math.abs(best.at_s - at) ? point : best);
    const x = LEFT + (near.at_s - series.from_s) / (series.to_s - series.from_s) * width;
    cross.hidden = tip.hidden = false;
    cross.style.left = `${x}px`;
    tip.textContent = `${day(near.at_s * 1000)} · ${plain(format(near[value]))}`;
    tip.style.left = `${Math.min(Math.max(0, x + 8), box.width - tip.offsetWidth)}px`;
  }, { signal: gone.signal });
  figure.addEventListener("pointerleave", () => { cross.hidden = tip.hidden = true; }, { signal: gone.signal });
  const shown = async (answer) => {
    again = false;
    put(answer);
    if (again) put(await ask());
  };
  const watcher = watch({ every, area: section, ask, show: shown, failed: (error) => {
    holder.replaceChildren(h("p", { class: "empty" }, error.message));
  } });
  let width = figure.clientWidth, wait = null;
  const observer = new ResizeObserver(() => {
    if (Math.abs(figure.clientWidth - width) < 8) return;
    width = figure.clientWidth;
    clearTimeout(wait);
    wait = setTimeout(() => watcher.now(), 200);
  });
  observer.observe(figure);
  // Another chart may take the place of this one.
  return { stop: () => { gone.abort(); watcher.stop(); observer.disconnect(); } };
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

function summary({ points }, noun = "Hashrate", value = "hashrate_hs", format = hashrate) {
  if (!points.length) return `${noun} over time: nothing yet.`;
  const values = points.map((point) => point[value]);
  const at = (number) => plain(format(number));
  return `${noun} over time: from ${at(Math.min(...values))} to ${at(Math.max(...values))}, at the end ${at(values.at(-1))}.`;
}
