// Keys for whoever does not want to reach for a pointer. A page needs nothing for them: its menu entry has a letter,
// rows are walked by their first link or button, and the first field of a search or filter is the one that / leads to.
import { byId, h, remember, remembered } from "./console.js";

const NAME = "headframe-keys";
const places = () => [...document.querySelectorAll(".top nav a[data-key]")].filter((link) => !link.hidden);
const isOn = () => remembered(NAME) !== "off";
let afterG = 0;

function isWritten(element) {
  return element.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName);
}

// The first thing of each row of the tables that can be opened.
function stops() {
  const rows = [...document.querySelectorAll("main tbody tr")].filter((row) => row.offsetParent !== null);
  return rows.map((row) => row.querySelector("a[href], button:not(:disabled)")).filter(Boolean);
}

function walk(step) {
  const all = stops();
  if (!all.length) return;
  const row = document.activeElement?.closest?.("tr");
  const now = all.findIndex((one) => one.closest("tr") === row);
  const next = now < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(now + step, 0), all.length - 1);
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
}

function help() {
  let dialog = byId("keys-help");
  if (!dialog) {
    const line = (keys, text) => h("tr", {}, h("td", {}, ...keys.flatMap((key, at) => [at ? " " : "", h("kbd", {}, key)])), h("td", { class: "wrap" }, text));
    const on = h("input", { type: "checkbox", id: "keys-on" });
    on.checked = isOn();
    on.addEventListener("change", () => remember(NAME, on.checked ? "on" : "off"));
    dialog = h("dialog", { id: "keys-help", "aria-labelledby": "keys-title" },
      h("h2", { id: "keys-title" }, "Keys"),
      h("table", {}, h("tbody", {},
        ...places().map((link) => line(["g", link.dataset.key], link.textContent)),
        line(["j", "k"], "the next row of a table and the one before; Enter opens it"),
        line(["/"], "the first field of the filter"),
        line(["?"], "this list"),
        line(["Esc"], "back"),
      )),
      h("form", { method: "dialog" }, h("label", { class: "check" }, on, "Single letters are keys"), h("div", { class: "row" }, h("button", { type: "submit" }, "Close"))));
    document.body.append(dialog);
  }
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (!isOn() || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape" && isWritten(document.activeElement)) { document.activeElement.blur(); return; }
  if (isWritten(event.target) || document.querySelector("dialog[open]")) return;
  const wasG = Date.now() - afterG < 1500;
  afterG = 0;
  if (wasG) {
    const link = places().find((one) => one.dataset.key === event.key);
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  const run = { g: () => { afterG = Date.now(); }, j: () => walk(1), k: () => walk(-1), "?": help, "/": () => document.querySelector("main form[role=search] :is(input, select):not([type=hidden])")?.focus() }[event.key];
  if (!run) return;
  event.preventDefault();
  run();
});

byId("keys")?.addEventListener("click", help);
