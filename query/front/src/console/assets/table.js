// Fills tables, and leaves those alone that have not changed.
import { h } from "./console.js";

// `columns` are {name, of, number, wrap}; `of` makes the content of a cell of a row.
export function fill(table, columns, rows, { empty = "Nothing yet.", caption } = {}) {
  const signature = JSON.stringify(rows);
  if (table.dataset.rows === signature) return;
  table.dataset.rows = signature;
  const head = h("tr", {}, columns.map((column) => h("th", { scope: "col", class: kindOf(column) }, column.name)));
  const line = (row) => h("tr", {}, columns.map((column) => h("td", { class: kindOf(column) }, column.of(row) ?? "")));
  const body = rows.length
    ? rows.map(line)
    : [h("tr", {}, h("td", { class: "empty wrap", colspan: columns.length }, empty))];
  const focused = table.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  table.replaceChildren(
    caption ? h("caption", { class: "said" }, caption) : "",
    h("thead", {}, head),
    h("tbody", {}, body),
  );
  // Whoever walks the rows by keyboard stays where he was.
  if (focused) [...table.querySelectorAll("a[href], button")].find((one) => nameOf(one) === focused)?.focus({ preventScroll: true });
}

// Buttons of all rows have the same text; the label says which row is meant.
function nameOf(element) { return element.getAttribute("href") ?? element.getAttribute("aria-label") ?? element.textContent; }

// The same for rows that change all the time: a row stays where it is by its `key`, and a cell is put anew only where
// it shows something else, so that a button under a pointer or with the focus stays.
export function update(table, columns, rows, { key, empty = "Nothing yet." } = {}) {
  const hasLines = table.tBodies[0]?.dataset.lines;
  if (!rows.length || !hasLines) {
    if (hasLines) delete table.dataset.rows;
    fill(table, columns, [], { empty });
    if (!rows.length) return;
    table.tBodies[0].replaceChildren();
    table.tBodies[0].dataset.lines = "true";
  }
  const body = table.tBodies[0], known = new Map([...body.rows].map((line) => [line.dataset.key, line]));
  rows.forEach((row, at) => {
    const name = key ? String(key(row)) : String(at), signature = JSON.stringify(row);
    const line = known.get(name) || h("tr", { "data-key": name });
    known.delete(name);
    if (body.rows[at] !== line) body.insertBefore(line, body.rows[at] || null);
    if (line.dataset.row === signature) return;
    line.dataset.row = signature;
    columns.forEach((column, n) => put(line, n, h("td", { class: kindOf(column) }, column.of(row) ?? "")));
  });
  for (const line of known.values()) line.remove();
}

function put(line, at, cell) {
  const before = line.cells[at];
  if (!before) { line.append(cell); return; }
  if (before.isEqualNode(cell)) return;
  const hadFocus = before.contains(document.activeElement);
  before.replaceWith(cell);
  if (hadFocus) cell.querySelector("button:not(:disabled)")?.focus();
}

function kindOf(column) { return [column.number ? "n" : "", column.wrap ? "wrap" : ""].join(" ").trim() || null; }

export function tag(text, state) { return h("span", { class: "tag", "data-state": state }, text); }

// A link to pages of another server, which learns nothing of this one; no link where the address is none of pages.
export function outside(address, content = address, label) {
  if (!/^https?:/.test(address ?? "")) return content;
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer", "aria-label": label }, content);
}

// What an id leads to where the chain is shown to everybody; a private chain has no such place.
export function explored(link, id, content) {
  return link && id ? outside(link.replace("{hash}", encodeURIComponent(id)), content) : content;
}

// A long number that counts: its last digits tell it from its neighbours.
export function numbered(id) { const text = String(id); return mono(text.length > 7 ? `…${text.slice(-6)}` : text, text); }

export function mono(text, title) { return h("span", { class: "mono", title: title || text }, text); }
