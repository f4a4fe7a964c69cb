// Forms that are made from the definitions of the registry, and values as people read them.
import { h } from "./console.js";
import { hashrate, moment, plain, DASH } from "./format.js";
import { outside } from "./table.js";

export const titleOf = (name) => { const text = name.replace(/_(kwh|kw|w|hs|deg|pct)$/, "").replaceAll("_", " "); return text[0].toUpperCase() + text.slice(1); };

// A value as people read it, with its unit; what names another resource leads to it.
export function value(field, given) {
  if (given === null || given === undefined) return h("span", { class: "unknown" }, DASH);
  if (field.type === "id") return h("a", { href: `/registry/${field.of}/${encodeURIComponent(given)}` }, given);
  if (field.type === "url") return outside(given);
  if (field.type === "time") return h("time", { datetime: given, title: given }, moment(given));
  if (field.field === "evidence") return h("span", { class: "hashes" }, String(given).split(/\s+/).map((hash) => h("code", { title: hash }, hash.length > 20 ? `${hash.slice(0, 12)}…${hash.slice(-6)}` : hash)));
  if (field.type === "photos") return h("span", { class: "photos" }, String(given).split(/\s+/).map(photo));
  if (field.unit === "H/s") return plain(hashrate(given));
  const text = typeof given === "number" ? given.toLocaleString("en-US", { maximumFractionDigits: 6 }) : String(given);
  return field.unit && field.unit !== "count" ? h("span", {}, text, h("span", { class: "unit" }, field.unit)) : text;
}

// A photo in a fixed size, which is loaded when it comes into sight; the whole of it is behind the link.
function photo(hash) {
  const address = `/api/v1/photos/${encodeURIComponent(hash)}`;
  return h("a", { href: address, target: "_blank", rel: "noopener", title: hash }, h("img", { src: address, alt: `Photo ${hash.slice(0, 12)}`, loading: "lazy", width: 96, height: 72 }));
}

const two = (n) => String(n).padStart(2, "0");

// A time of the registry as the browser's field has it: by the clocks of the visitor, to the second.
function local(text) {
  const date = new Date(text);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

// The control of one field, filled with a value. `ids` are those of the kind that it names.
function control(field, given, ids) {
  const attributes = { id: `f-${field.field}`, name: field.field, "aria-describedby": `d-${field.field} e-${field.field}`, autocomplete: "off", "aria-required": field.needed ? "true" : null };
  if (field.words) {
    const select = h("select", attributes, h("option", { value: "" }, field.needed ? "choose" : "none"), field.words.map((word) => h("option", { value: word }, word.replaceAll("_", " "))));
    select.value = given ?? "";
    return select;
  }
  if (field.most_bytes) { const area = h("textarea", { ...attributes, rows: field.most_bytes > 3000 ? 5 : 3 }); area.value = given ?? ""; return area; }
  const kind = { number: { inputmode: "decimal" }, whole_number: { inputmode: "numeric" }, time: { type: "datetime-local", step: 1 }, country: { maxlength: 2 }, url: { inputmode: "url" } }[field.type] || {};
  const input = h("input", { ...attributes, ...kind, spellcheck: "false", list: field.type === "id" ? `l-${field.field}` : field.type === "time_zone" ? "zones" : null });
  input.value = given === null || given === undefined ? "" : field.type === "time" ? local(given) : String(given);
  return field.type === "id" ? [input, h("datalist", { id: `l-${field.field}` }, ids.map((id) => h("option", { value: id })))] : input;
}

// A form of these fields. `read` gives the object that is sent; `fault` writes the server's words beside the field
// that they name, and gives back whether there is one.
export function form(kind, given, ids) {
  const zones = h("datalist", { id: "zones" }, (Intl.supportedValuesOf?.("timeZone") || []).map((zone) => h("option", { value: zone })));
  const groups = kind.fields.map((field) => h("div", { class: field.most_bytes ? "field wide" : "field", "data-field": field.field },
    h("label", { for: `f-${field.field}` }, titleOf(field.field), field.needed ? h("span", { class: "needed", title: "needed" }, " •") : "", field.unit && field.unit !== "count" ? h("span", { class: "unit" }, field.unit) : ""),
    control(field, given[field.field], ids[field.of] || []),
    h("p", { class: "hint", id: `d-${field.field}` }, field.meaning, field.unique ? " No two have the same." : "", field.most !== undefined && field.most <= 1000 ? ` ${field.least} to ${field.most}.` : ""),
    h("p", { class: "fault", id: `e-${field.field}`, role: "alert", hidden: true })));
  const at = (name) => groups.find((group) => group.dataset.field === name);
  const input = (name) => at(name).querySelector("input, select, textarea");
  const first = Object.fromEntries(kind.fields.map((field) => [field.field, input(field.field).value]));
  return {
    elements: [zones, ...groups],
    read: () => {
      const values = {};
      for (const field of kind.fields) {
        const text = input(field.field).value.trim();
        if (!text) continue;
        // What was not touched is sent as it came: the browser's clocks know no microseconds.
        if (text === first[field.field].trim() && given[field.field] !== undefined) values[field.field] = given[field.field];
        else if (["number", "whole_number"].includes(field.type)) values[field.field] = Number.isNaN(Number(text)) ? text : Number(text);
        else values[field.field] = field.type === "time" ? new Date(text).toISOString() : text;
      }
      return values;
    },
    fault: (message) => {
      let found = null;
      for (const group of groups) {
        const name = group.dataset.field;
        const part = message.split("; ").find((text) => text.includes(`field \`${name}\``) || new RegExp(`\\b${name}\\b`).test(text.split(":").at(-1)) && !text.includes("field `"));
        const place = group.querySelector(".fault"), field = input(name);
        place.hidden = !part;
        place.textContent = part ? part.replace(/^that is no \w+: /, "").replace(/^(missing )?field `\w+`:? ?/, (all, missing) => missing ? "This is needed." : "") : "";
        if (part) field.setAttribute("aria-invalid", "true"); else field.removeAttribute("aria-invalid");
        if (part) found ??= field;
      }
      found?.focus();
      return Boolean(found);
    },
  };
}

// What differs between two versions, field by field.
export function changes(kind, before, after) {
  return kind.fields.filter((field) => JSON.stringify(before?.[field.field] ?? null) !== JSON.stringify(after?.[field.field] ?? null))
    .map((field) => ({ field, before: before?.[field.field], after: after?.[field.field] }));
}
