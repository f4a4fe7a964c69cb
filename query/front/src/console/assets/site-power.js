// Power against the target over time, with the numbers as a table beside it.
import { h } from "./console.js";
import { clock, day } from "./format.js";
import { kw, s } from "./site-shape.js";
import { fill } from "./table.js";

const LEFT = 46, RIGHT = 8, TOP = 10, BOTTOM = 24, HEIGHT = 220;

// Round numbers from nought to what is above this, six at most.
function ticksTo(value) {
  const size = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3) / 5));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * size).find((one) => one * 5 >= value);
  const number = Math.ceil(value / step);
  return { marks: Array.from({ length: number + 1 }, (_, at) => at * step), digits: Number.isInteger(step) ? 0 : step < 0.1 ? 2 : 1 };
}

export function chart(figure, details) {
  let samples = [], design = 1;
  const holder = h("div", {}), cross = h("div", { class: "cross", hidden: true }), tip = h("div", { class: "tip", hidden: true });
  figure.replaceChildren(holder, cross, tip);

  const scale = () => {
    const width = Math.max(240, Math.round(figure.clientWidth)), first = samples[0].at_us, last = samples.at(-1).at_us;
    const { marks, digits } = ticksTo(1.02 * Math.max(...samples.flatMap((one) => [one.measured_kw, one.target_kw]), 1e-3)), most = marks.at(-1);
    const x = (us) => LEFT + (last === first ? 0 : (us - first) / (last - first)) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
    return { width, first, last, marks, digits, x, y };
  };
  const list = () => fill(details.querySelector("table"), [
    { name: "When", of: (row) => day(row.at_us / 1000) },
    { name: "Power, kW", number: true, of: (row) => kw(row.measured_kw) },
    { name: "Target, kW", number: true, of: (row) => kw(row.target_kw) },
  ], [...samples].reverse().slice(0, 200));
  details.addEventListener("toggle", () => details.open && list());

  const put = () => {
    if (samples.length < 2) { holder.replaceChildren(h("p", { class: "empty" }, "The first minutes are being measured.")); return; }
    const { width, first, last, marks, digits, x, y } = scale();
    const rules = marks.map((mark) => [
      s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark) }),
      s("text", { x: LEFT - 8, y: y(mark) + 4, "text-anchor": "end" }, kw(mark, digits)),
    ]);
    const ticks = [0, 0.5, 1].map((share) => s("text", { x: LEFT + share * (width - LEFT - RIGHT), y: HEIGHT - 6, "text-anchor": ["start", "middle", "end"][share * 2] }, clock((first + share * (last - first)) / 1000)));
    const line = samples.map((one) => `${x(one.at_us).toFixed(1)},${y(one.measured_kw).toFixed(1)}`).join(" ");
    // The target holds until the next sample: steps, not slopes.
    const steps = samples.flatMap((one, at) => [at ? `${x(one.at_us).toFixed(1)},${y(samples[at - 1].target_kw).toFixed(1)}` : "", `${x(one.at_us).toFixed(1)},${y(one.target_kw).toFixed(1)}`]).join(" ");
    const end = samples.at(-1);
    holder.replaceChildren(s("svg", { width, height: HEIGHT, role: "img", "aria-label": `Power against the target since ${clock(first / 1000)}: now ${kw(end.measured_kw)} kW of ${kw(end.target_kw)} kW, ${kw(design)} kW by design.` },
      rules, ticks,
      s("polygon", { points: `${LEFT},${y(0)} ${line} ${x(last)},${y(0)}` }),
      s("polyline", { class: "measured", points: line }),
      s("polyline", { class: "target", points: steps.trim() }),
    ));
  };
  figure.addEventListener("pointermove", (event) => {
    if (samples.length < 2) return;
    const box = figure.getBoundingClientRect(), { x } = scale(), at = event.clientX - box.left;
    const near = samples.reduce((best, one) => Math.abs(x(one.at_us) - at) < Math.abs(x(best.at_us) - at) ? one : best);
    cross.hidden = tip.hidden = false;
    cross.style.left = `${x(near.at_us)}px`;
    tip.textContent = `${clock(near.at_us / 1000)} · ${kw(near.measured_kw)} of ${kw(near.target_kw)} kW`;
    tip.style.left = `${Math.min(Math.max(0, x(near.at_us) + 8), box.width - tip.offsetWidth)}px`;
  });
  figure.addEventListener("pointerleave", () => { cross.hidden = tip.hidden = true; });
  new ResizeObserver(put).observe(figure);
  return {
    // All samples anew, or one that was just seen.
    all: (list_, designed) => { samples = list_; design = designed; put(); if (details.open) list(); },
    add: (one) => { if (samples.length && one.at_us > samples.at(-1).at_us) { samples = [...samples.filter((old) => !old.isLive), { ...one, isLive: true }]; put(); } },
  };
}
