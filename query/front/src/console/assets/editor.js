// The editor of statements: a plain text field with completion of keywords, tables and columns.
import { byId, h } from "./console.js";

const KEYWORDS = "SELECT FROM WHERE GROUP BY ORDER BY LIMIT JOIN LEFT JOIN ON AS AND OR NOT IN BETWEEN IS NULL DISTINCT count( sum( avg( min( max( approx_distinct( date_bin( date_trunc( now() INTERVAL CASE WHEN THEN ELSE END CAST( UNION ALL WITH HAVING DESC ASC OVER PARTITION BY EXPLAIN".split(/ (?=[A-Z a-z])/);
const MOST = 40;

export function makeEditor(run) {
  const field = byId("sql"), list = byId("complete");
  let words = [], chosen = 0, offered = [];
  const close = () => { list.hidden = true; field.removeAttribute("aria-activedescendant"); };
  const before = () => /[\w.]*$/.exec(field.value.slice(0, field.selectionStart))[0];

  const offer = (asked) => {
    const typed = before(), last = typed.split(".").pop().toLowerCase();
    if (!asked && last.length < 2) { close(); return; }
    offered = words.filter((word) => word.text.toLowerCase().startsWith(last) && word.text.toLowerCase() !== last).slice(0, MOST);
    if (!offered.length) { close(); return; }
    chosen = 0;
    list.replaceChildren(...offered.map((word, n) => h("li", { id: `c${n}`, role: "option", "aria-selected": String(n === 0), on: { mousedown: (event) => { event.preventDefault(); chosen = n; take(); } } }, word.text, h("span", {}, word.about))));
    list.hidden = false;
    const line = field.value.slice(0, field.selectionStart).split("\n");
    list.style.top = `${Math.min(field.offsetTop + 12 + line.length * 20 - field.scrollTop, field.offsetTop + field.offsetHeight)}px`;
    list.style.left = `${Math.min(12 + line.at(-1).length * 7.6, Math.max(0, field.clientWidth - 260))}px`;
    mark();
  };
  const mark = () => {
    [...list.children].forEach((entry, n) => entry.setAttribute("aria-selected", String(n === chosen)));
    list.children[chosen]?.scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", `c${chosen}`);
  };
  const take = () => {
    const typed = before().split(".").pop(), end = field.selectionStart;
    field.setRangeText(offered[chosen].text, end - typed.length, end, "end");
    close();
  };

  field.addEventListener("input", () => offer(false));
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); close(); run(); return; }
    if (event.ctrlKey && event.key === " ") { event.preventDefault(); offer(true); return; }
    if (list.hidden) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : offered.length - 1)) % offered.length;
      mark();
    } else if (event.key === "Enter" || event.key === "Tab") { event.preventDefault(); take(); } else if (event.key === "Escape") close();
  });
  return {
    know: (tables) => {
      const names = new Map();
      for (const keyword of KEYWORDS) names.set(keyword, "");
      for (const table of tables) {
        names.set(table.name, "table");
        for (const column of table.columns) if (!names.has(column.name)) names.set(column.name, column.unit || column.type.toLowerCase());
      }
      words = [...names].map(([text, about]) => ({ text, about }));
    },
    insert: (text) => { field.setRangeText(text, field.selectionStart, field.selectionEnd, "end"); field.focus(); },
    get value() { return field.value; },
    set value(text) { field.value = text; },
  };
}
