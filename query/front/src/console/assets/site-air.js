// The temperature on a scale with every threshold that means something: fans that start, warnings, trips.
import { celsius, s } from "./site-shape.js";
import { tag, update } from "./table.js";
import { DASH } from "./format.js";

const HEIGHT = 108, LEFT = 6, RIGHT = 6;

export function draw(figure, site) {
  const { limits, fan_list: fans } = site, now = site.temperature_c?.value ?? null, highest = site.temperature_highest_c?.value ?? null;
  const width = Math.max(260, Math.round(figure.clientWidth));
  const signature = JSON.stringify([limits, fans, now, highest, width]);
  if (figure.dataset.drawn === signature) return;
  figure.dataset.drawn = signature;
  const least = Math.min(limits.cold_c - 5, now ?? limits.cold_c), most = Math.max(limits.trip_at_once_c + 2, highest ?? 0);
  const x = (value) => LEFT + (value - least) / (most - least) * (width - LEFT - RIGHT);
  const bands = [[least, limits.cold_c, "cold"], [limits.cold_c, limits.warm_c, "normal"], [limits.warm_c, limits.hot_c, "warm"], [limits.hot_c, limits.critical_c, "hot"], [limits.critical_c, most, "critical"]];
  const names = bands.filter(([from, to]) => x(to) - x(from) > 44).map(([from, to, name]) => s("text", { x: (x(from) + x(to)) / 2, y: 42, "text-anchor": "middle" }, name));
  const edges = [limits.cold_c, limits.warm_c, limits.hot_c, limits.critical_c, limits.trip_c];
  const numbers = edges.filter((edge, at) => at === 0 || x(edge) - x(edges[at - 1]) > 16).map((edge) => s("text", { x: x(edge), y: 72, "text-anchor": "middle" }, edge.toFixed(0)));
  const stages = fans.map((fan) => s("g", { class: fan.is_on ? "fan on" : "fan" },
    s("path", { d: `M${x(fan.on_c)} 76 l5 8 h-10 z` }), s("line", { x1: x(fan.off_c), x2: x(fan.on_c), y1: 86, y2: 86 }),
    s("text", { x: x(fan.on_c), y: 101, "text-anchor": "middle" }, String(fan.fan)), s("title", {}, `Fan ${fan.fan} starts at ${fan.on_c} °C and stops at ${fan.off_c} °C`)));
  const marker = now === null ? null : s("g", { class: "marker" }, s("line", { x1: x(now), x2: x(now), y1: 18, y2: 58 }), s("text", { x: Math.min(Math.max(x(now), 24), width - 24), y: 13, "text-anchor": "middle" }, `${celsius(now)} °C`));
  const top = highest === null ? null : s("line", { class: "highest", x1: x(highest), x2: x(highest), y1: 24, y2: 58 });
  const label = `Temperature ${celsius(now)} degrees, the highest ${celsius(highest)}; warm from ${limits.warm_c}, hot from ${limits.hot_c}, everything off from ${limits.trip_c}.`;
  figure.replaceChildren(s("svg", { width, height: HEIGHT, role: "img", "aria-label": label },
    bands.map(([from, to, name]) => s("rect", { class: `band ${name}`, x: x(from), y: 24, width: Math.max(0, x(to) - x(from)), height: 34 })), names,
    s("line", { class: "trip", x1: x(limits.trip_c), x2: x(limits.trip_c), y1: 20, y2: 62 }), numbers, stages, top, marker,
  ));
}

function doing(fan) {
  if (fan.is_faulty) return tag("■ draws too little", "bad");
  if (fan.is_deaf) return tag("■ relay does not follow", "bad");
  if (!fan.is_read) return tag("? not read back", "warn");
  return fan.is_on ? "● on" : "○ off";
}

export function list(table, fans) {
  update(table, [
    { name: "Fan", of: (row) => String(row.fan) },
    { name: "State", of: doing },
    { name: "Draws", number: true, of: (row) => row.watts === null ? DASH : `${row.watts.toFixed(0)} W` },
    { name: "Starts at", number: true, of: (row) => `${row.on_c.toFixed(1)} °C` },
    { name: "Stops at", number: true, of: (row) => `${row.off_c.toFixed(1)} °C` },
  ], fans, { key: (row) => row.fan, empty: "The plan has no fan." });
}
