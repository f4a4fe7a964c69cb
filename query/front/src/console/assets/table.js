// Fills tables, and leaves those alone that have not changed.
import { h } from "./console.js";

// `columns` are {name, of, number, wrap}; `of` makes the content of a cell of a row.
export function fill(table, columns, rows, { empty = "Nothing yet.", caption } = {}) {
  const signature = JSON.stringify(rows);
  if (table.dataset.rows === signature) return;
  table.dataset.rows = signature;
  const kind = (column) => [column.number ? "n" : "", column.wrap ? "wrap" : ""].join(" ").trim() || null;
  const head = h("tr", {}, columns.map((column) => h("th", { scope: "col", class: kind(column) }, column.name)));
  const line = (row) => h("tr", {}, columns.map((column) => h("td", { class: kind(column) }, column.of(row) ?? "")));
  const body = rows.length
    ? rows.map(line)
    : [h("tr", {}, h("td", { class: "empty wrap", colspan: columns.length }, empty))];
  table.replaceChildren(
    caption ? h("caption", { class: "said" }, caption) : "",
    h("thead", {}, head),
    h("tbody", {}, body),
  );
}

export function tag(text, state) { return h("span", { class: "tag", "data-state": state }, text); }

// What an id leads to where the chain is shown to everybody; a private chain has no such place.
export function explored(link, id, content) {
  if (!link || !id || !/^https?:/.test(link)) return content;
  return h("a", { href: link.replace("{hash}", encodeURIComponent(id)), target: "_blank", rel: "noopener noreferrer" }, content);
}

export function mono(text, title) { return h("span", { class: "mono", title: title || text }, text); }
