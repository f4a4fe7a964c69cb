// The one-line diagram: utility, meter, feeders, machines and fans, with what each draws.
import { kw, s } from "./site-shape.js";

const ROW = 58;

function box(x, y, width, { title, value, rest, kind }) {
  return s("g", { class: `node ${kind || ""}` },
    s("rect", { x, y, width, height: 48, rx: 4 }),
    s("text", { x: x + 10, y: y + 19, class: "title" }, title),
    s("text", { x: x + width - 10, y: y + 19, class: "value", "text-anchor": "end" }, value),
    s("text", { x: x + 10, y: y + 37 }, rest),
  );
}

const wire = (...points) => s("polyline", { class: "wire", points: points.map((point) => point.join(",")).join(" ") });

// A breaker: closed it is a filled square, open an empty one with a gap.
function breaker(x, y, isOpen) {
  return s("g", { class: isOpen ? "breaker open" : "breaker" }, s("rect", { x: x - 6, y: y - 6, width: 12, height: 12 }), s("title", {}, isOpen ? "opened" : "closed"));
}

function machinesLine({ running, starting, stopping, stopped, stuck, unknown }) {
  const parts = [[running, "run"], [starting, "start"], [stopping, "stop"], [stopped, "off"], [stuck, "■ stuck"], [unknown, "? not read"]];
  return parts.filter(([number], at) => number > 0 || at === 0).map(([number, words]) => `${number} ${words}`).join(" · ");
}

function branches(site) {
  const all = site.groups.map((group) => {
    const limit = group.limit_kw ? ` of ${kw(group.limit_kw)}` : "";
    const isOpen = group.is_opened || group.is_closed === false;
    const kind = isOpen || group.machines.stuck ? "bad" : group.limit_kw && group.kw > group.limit_kw ? "bad" : "";
    return { title: group.feeder ?? "Machines", value: `${kw(group.kw)}${limit} kW${isOpen ? " · OPEN" : ""}`, rest: machinesLine(group.machines), isOpen, kind };
  });
  const watts = site.fan_list.reduce((sum, fan) => sum + (fan.watts ?? 0), 0);
  const isRead = site.fan_list.some((fan) => fan.watts !== null);
  if (site.fans) all.push({ title: "Fans", value: isRead ? `${kw(watts / 1000, 2)} kW` : "watts not read", rest: `${site.fans_on} on · ${site.fans - site.fans_on} off`, kind: site.fan_list.some((fan) => fan.is_faulty || fan.is_deaf) ? "warn" : "" });
  all.push({ title: "The rest", value: `${kw(site.auxiliary_kw)} kW`, rest: "learned from the meter", kind: "" });
  return all;
}

const UTILITY = { title: "Utility", value: "", rest: "supply" };

function meter(site) {
  const left = site.target_kw - site.measured_kw, isOver = site.measured_kw > site.target_kw * 1.02;
  const rest = left >= 0 ? `${kw(left)} kW below target` : `${kw(-left)} kW above target`;
  return { title: "Meter", value: `${kw(site.measured_kw)} kW`, rest: site.quality === "estimated" ? "estimated" : rest, kind: isOver || site.quality === "estimated" ? "warn" : "" };
}

function wide(site, all, width) {
  const height = Math.max(all.length * ROW, 80), middle = (all.length - 1) * ROW / 2 + 28, bus = 390, at = 450;
  const rows = all.map((branch, row) => {
    const y = row * ROW + 4, center = y + 24;
    return [wire([bus, center], [at, center]), breaker((bus + at) / 2, center, branch.isOpen), box(at, y, Math.min(740, width - at - 2), branch)];
  });
  return [height, [
    box(2, middle - 24, 110, UTILITY), wire([112, middle], [150, middle]), box(150, middle - 24, 200, meter(site)), wire([350, middle], [bus, middle]),
    s("line", { class: "bus", x1: bus, x2: bus, y1: 20, y2: (all.length - 1) * ROW + 36 }), rows,
  ]];
}

// On a narrow screen it runs from the top down.
function narrow(site, all, width) {
  const top = 132;
  const rows = all.map((branch, row) => {
    const y = top + row * ROW, center = y + 24;
    return [wire([20, center], [48, center]), breaker(34, center, branch.isOpen), box(54, y, width - 56, branch)];
  });
  return [top + all.length * ROW, [
    box(2, 4, width - 4, UTILITY), wire([20, 52], [20, 66]), box(2, 66, width - 4, meter(site)),
    s("line", { class: "bus", x1: 20, x2: 20, y1: 114, y2: top + (all.length - 1) * ROW + 24 }), rows,
  ]];
}

export function draw(figure, site) {
  const all = branches(site), space = Math.round(figure.clientWidth);
  const signature = JSON.stringify([all, space, site.measured_kw, site.target_kw, site.quality]);
  if (figure.dataset.drawn === signature) return;
  figure.dataset.drawn = signature;
  const width = Math.max(280, space), [height, parts] = (width < 760 ? narrow : wide)(site, all, width);
  const label = `Power flows from the utility through the meter, ${kw(site.measured_kw)} kilowatts, to ${all.map((branch) => `${branch.title}: ${branch.value}, ${branch.rest}`).join("; ")}.`;
  figure.replaceChildren(s("svg", { width, height, role: "img", "aria-label": label }, parts));
}
