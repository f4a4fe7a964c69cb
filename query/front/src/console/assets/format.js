// How numbers, money and times are written. What is not known is a dash, never a nought.

export const DASH = "–";

const SCALE = ["", "k", "M", "G", "T", "P", "E"];

// Three digits that count, with the scale of thousands.
export function scaled(value) {
  if (value === null || value === undefined || Number.isNaN(Number(value))) return null;
  let number = Number(value), step = 0;
  while (Math.abs(number) >= 999.5 && step < SCALE.length - 1) { number /= 1000; step += 1; }
  const size = Math.abs(number);
  const digits = size === 0 || Number.isInteger(number) && step === 0 ? 0 : size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return [number.toFixed(digits), SCALE[step]];
}

// A value with its unit apart, so that the unit can be set smaller.
export function withUnit(value, unit) {
  const parts = scaled(value);
  return parts ? { text: parts[0], unit: `${parts[1]}${unit}` } : { text: DASH, unit: "" };
}

export const hashrate = (value) => withUnit(value, "H/s");
export const power = (value) => withUnit(value, "W");
export const energy = (value) => withUnit(value, "Wh");

// The unit that the last word of a signal's name says, such as meter-1/power_w.
const UNITS = { w: "W", wh: "Wh", hs: "H/s", c: "°C", pct: "%", rpm: "rpm", hpa: "hPa", v: "V", a: "A", hz: "Hz", jth: "J/TH", s: "s" };
export const unitOf = (signal) => UNITS[/_([a-z]+)$/.exec(signal)?.[1]] ?? "";

// A reading of a signal: power and hashrate with the scale of thousands, others as they are.
export function reading(value, unit) {
  if (value === null || value === undefined) return { text: DASH, unit: "" };
  if (["W", "Wh", "H/s"].includes(unit)) return withUnit(value, unit);
  const size = Math.abs(value);
  return { text: value.toFixed(size >= 1000 || Number.isInteger(value) ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3), unit };
}

export function plain({ text, unit }) { return unit ? `${text} ${unit}` : text; }

export function count(value) {
  return value === null || value === undefined ? DASH : Number(value).toLocaleString("en-US");
}

export function percent(share, digits = 0) {
  return share === null || share === undefined ? DASH : `${(share * 100).toFixed(digits)} %`;
}

// An exact amount in coins from atomic units as text. Amounts are wider than a number of JavaScript.
export function coins(atomic, chain, digits = 6) {
  if (atomic === null || atomic === undefined || atomic === "" || !chain) return DASH;
  const negative = String(atomic).startsWith("-");
  const all = String(atomic).replace("-", "").padStart(chain.decimals + 1, "0");
  const whole = all.slice(0, all.length - chain.decimals).replace(/\B(?=(\d{3})+$)/g, ",");
  const part = chain.decimals ? all.slice(-chain.decimals) : "";
  const shown = part.slice(0, digits).padEnd(Math.min(digits, chain.decimals), "0");
  return `${negative ? "−" : ""}${whole}${shown ? `.${shown}` : ""}`;
}

// The same for a figure, whose cell is small: four digits that count after the point, or two of large sums.
export function figure(atomic, chain) {
  const large = chain && String(atomic ?? "").replace("-", "").length > chain.decimals + 3;
  return coins(atomic, chain, large ? 2 : 4);
}

export function seconds(length) {
  if (length === null || length === undefined || !Number.isFinite(length)) return DASH;
  const s = Math.max(0, Math.round(length));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) { const h = Math.floor(s / 3600), m = Math.round((s % 3600) / 60); return m && h < 10 ? `${h} h ${m} min` : `${h} h`; }
  return `${Math.round(s / 86400)} d`;
}

export function clock(time) {
  return new Date(time).toLocaleTimeString(undefined, { hour12: false });
}

// A time to come, or one that is past, with its date.
export function moment(time) { return time ? day(time) : DASH; }

export function day(time) {
  const date = new Date(time);
  const two = (n) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

export function short(text, head = 8, tail = 6) {
  return text && text.length > head + tail + 2 ? `${text.slice(0, head)}…${text.slice(-tail)}` : text || DASH;
}
