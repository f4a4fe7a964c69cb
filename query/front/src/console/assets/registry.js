// The registry: lists of each kind, one resource with its history, and the form that changes it.
import { ago, byId, canOperate, h, json, open, request, say, sql, watch, Refusal } from "./console.js";
import { count, day } from "./format.js";
import { fill, tag } from "./table.js";
import { confirm } from "./confirm.js";
import { changes, form, titleOf, value } from "./fields.js";
import { filters, options } from "./filters.js";

await open("/registry");
const operates = await canOperate;
const { kinds } = await json("/api/v1/registry/kinds");
const [, , kindName, id] = location.pathname.split("/").map(decodeURIComponent);
const kind = kinds.find((one) => one.kind === kindName) || kinds.find((one) => one.kind === "sites");
const words = new URLSearchParams(location.search);
const path = (one = "") => `/registry/${kind.kind}${one ? `/${encodeURIComponent(one)}` : ""}`;
const name = (text) => text[0].toUpperCase() + text.slice(1);

byId("kinds").replaceChildren(...kinds.map((one) => h("a", { href: `/registry/${one.kind}`, "aria-current": one === kind ? "page" : null }, name(one.kind))));
byId("kinds").querySelector("[aria-current]").scrollIntoView({ inline: "center", block: "nearest" });
byId("lede").textContent = kind.doc;

if (words.has("new")) showForm(null);
else if (id && words.has("edit")) showForm(id);
else if (id) showOne();
else showList();

function button(text, run, more = {}) {
  const may = operates ? {} : { disabled: true, title: "Changes need an operator who signed in" };
  return h("button", { type: "button", class: "small", ...may, ...more, on: { click: run } }, text);
}

// ---- A list ---------------------------------------------------------------------------------------------------

function columns() {
  const shown = kind.fields.filter((field) => field.needed || field.words || field.type === "id" && !["operator"].includes(field.field)).filter((field) => !field.most_bytes);
  const rest = kind.fields.filter((field) => !shown.includes(field) && (field.unit && field.type !== "time" || field.type === "time"));
  return [...shown, ...rest].slice(0, 7);
}

function showList() {
  byId("list-view").hidden = false;
  document.title = `${name(kind.kind)} · Registry`;
  byId("list-title").textContent = name(kind.kind);
  const choices = kind.fields.filter((field) => field.words || field.type === "id");
  byId("filter").replaceChildren(
    h("div", {}, h("label", { for: "w-id" }, "Id"), h("input", { id: "w-id", name: "id", autocomplete: "off", spellcheck: "false", placeholder: "the whole id" })),
    ...choices.map((field) => h("div", {}, h("label", { for: `w-${field.field}` }, titleOf(field.field)), h("select", { id: `w-${field.field}`, name: field.field }, h("option", { value: "" }, "any"), (field.words || []).map((word) => h("option", { value: word }, word.replaceAll("_", " ")))))),
    h("div", {}, h("label", { for: "w-as_of" }, "As of (your time)"), h("input", { id: "w-as_of", name: "as_of", type: "datetime-local" })),
  );
  byId("list-orders").replaceChildren(button(`New ${kind.singular}`, () => { location.href = `${path()}?new`; }, { class: "small primary" }));
  let after = "", shownBefore = 0, wanted = {};
  const filter = filters(byId("filter"), (values) => { wanted = values; after = ""; shownBefore = 0; watcher?.now(); exports(); });
  wanted = filter.read();
  for (const field of choices.filter((one) => one.of)) {
    json(`/api/v1/${field.of}?limit=1000`).then((answer) => options(byId(`w-${field.field}`), answer[field.of].map((one) => one.id), "any")).catch(() => null);
  }
  function exports() {
    const fixed = Object.entries(wanted).filter(([key]) => key === "id" || kind.fields.some((field) => field.field === key));
    const where = fixed.map(([key, text]) => `${key} = '${text.replaceAll("'", "''")}'`).join(" AND ");
    const q = `SELECT * FROM ${kind.kind}${where ? ` WHERE ${where}` : ""} ORDER BY id`;
    byId("list-note").replaceChildren("export ", ...[["CSV", "csv"], ["JSON lines", "ndjson"], ["Parquet", "parquet"]].flatMap(([text, format], at) => [at ? " · " : "", h("a", { href: `/api/v1/sql?${new URLSearchParams({ q, format })}`, download: `${kind.kind}.${format}` }, text)]));
  }
  exports();
  let page = null;
  const ask = async () => {
    const asked = { ...wanted };
    if (asked.as_of) asked.as_of = new Date(asked.as_of).toISOString();
    if (asked.id) {
      const one = asked.id, at = asked.as_of ? `?as_of=${encodeURIComponent(asked.as_of)}` : "";
      try { return { rows: [await json(`${kind.path}/${encodeURIComponent(one)}${at}`)], next: null }; }
      catch (error) { if (error instanceof Refusal && error.status === 404) return { rows: [], next: null }; throw error; }
    }
    const answer = await json(`${kind.path}?${new URLSearchParams({ ...asked, limit: 50, ...(after ? { after } : {}) })}`);
    return { rows: answer[kind.kind], next: answer.next };
  };
  const watcher = watch({
    every: 15, area: byId("list-area"), ask,
    failed: (error) => fill(byId("list"), [{ name: "Nothing to show", wrap: true, of: (row) => row }], [`${error.message}. ${error.hint || ""}`]),
    show: (answer) => {
      page = answer;
      const numeric = (field) => ["number", "whole_number"].includes(field.type);
      fill(byId("list"), [
        { name: "Id", of: (row) => h("a", { href: path(row.id) }, row.id) },
        ...columns().map((field) => ({ name: titleOf(field.field), number: numeric(field), of: (row) => field.words && row[field.field] ? tag(row[field.field].replaceAll("_", " "), "") : value(field, row[field.field]) })),
        { name: "Changed", of: (row) => ago(row.updated_at) },
      ], answer.rows, { empty: Object.keys(wanted).length ? `No ${kind.singular} is like that.` : `No ${kind.singular} is registered yet.` });
      byId("list-range").textContent = answer.rows.length ? `${count(shownBefore + 1)} to ${count(shownBefore + answer.rows.length)}${answer.next ? ", and there are more" : ""}` : "";
      byId("list-more").hidden = !answer.next;
      byId("list-first").hidden = !after;
    },
  });
  byId("list-more").addEventListener("click", () => { shownBefore += page.rows.length; after = page.next; watcher.now(); });
  byId("list-first").addEventListener("click", () => { shownBefore = 0; after = ""; watcher.now(); });
}

// ---- One resource -----------------------------------------------------------------------------------------------

function showOne() {
  byId("one-view").hidden = false;
  byId("title").textContent = id;
  byId("lede").textContent = `${name(kind.singular)}. ${kind.doc}`;
  document.title = `${id} · Registry`;
  byId("one-orders").replaceChildren(
    button("Change", () => { location.href = `${path(id)}?edit`; }, { class: "small primary" }),
    button("Delete…", remove, { class: "small danger" }),
  );
  let version = null, seen = null;
  watch({
    every: 10, area: byId("one-area"),
    ask: () => json(`${kind.path}/${encodeURIComponent(id)}`),
    failed: (error) => {
      byId("facts").replaceChildren();
      byId("one-note").textContent = "";
      byId("one-orders").replaceChildren();
      byId("one-title").textContent = error.status === 404 ? "It is not registered" : error.message;
    },
    show: (found) => {
      if (found.version === version) return;
      version = found.version;
      byId("one-note").replaceChildren(`version ${version}, `, ago(found.updated_at), ` by ${found.updated_by}`);
      byId("facts").replaceChildren(...kind.fields.map((field) => h("div", { class: field.most_bytes ? "wide" : null }, h("dt", { title: field.meaning }, titleOf(field.field)), h("dd", {}, value(field, found[field.field])))));
    },
  });
  watch({
    every: 10, area: byId("history-area"),
    ask: () => sql("SELECT version, event_time, change, actor, role, before, after FROM registry WHERE kind = $1 AND id = $2 ORDER BY version DESC LIMIT 200", [kind.kind, id]),
    failed: (error) => byId("history").replaceChildren(h("li", { class: "empty" }, error.message)),
    show: ({ rows }) => {
      const signature = JSON.stringify(rows);
      if (seen === signature) return;
      seen = signature;
      byId("history").replaceChildren(...(rows.length ? rows.map(change) : [h("li", { class: "empty" }, "Its first change is on its way into the tables.")]));
    },
  });
}

function change(row) {
  const before = row.before ? JSON.parse(row.before) : null, after = row.after ? JSON.parse(row.after) : null;
  const lines = changes(kind, before, after);
  const state = { created: "good", deleted: "bad" }[row.change] || "";
  return h("li", {},
    h("p", {}, tag(`${row.change === "created" ? "+ " : row.change === "deleted" ? "− " : ""}${row.change}`, state), ` version ${row.version} · `, h("time", { datetime: row.event_time, title: row.event_time }, day(row.event_time)), " · ", h("strong", {}, row.actor), row.role ? `, ${row.role}` : ""),
    row.change === "deleted" ? "" : h("dl", { class: "diff" }, lines.map((line) => h("div", {}, h("dt", {}, titleOf(line.field.field)), h("dd", {}, before ? [h("del", {}, value(line.field, line.before)), h("span", { class: "to", "aria-label": "became" }, " → ")] : "", h("ins", {}, value(line.field, line.after)))))),
  );
}

async function remove() {
  const found = await request(`${kind.path}/${encodeURIComponent(id)}`);
  const etag = found.headers.get("ETag");
  const isSure = await confirm(`Delete the ${kind.singular} ${id}?`, "It is not registered from then on. What it was can still be looked up, and the id can be used again.", id, "Delete");
  if (!isSure) return;
  try {
    await request(`${kind.path}/${encodeURIComponent(id)}`, { method: "DELETE", headers: { "If-Match": etag } });
    location.href = path();
  } catch (error) {
    byId("one-area").querySelector(".notice")?.remove();
    byId("one-area").querySelector("header").after(h("p", { class: "notice", "data-state": "bad", role: "alert" }, `${error.message}. ${error.hint || ""}`));
  }
}

// ---- The form ---------------------------------------------------------------------------------------------------

async function showForm(which) {
  byId("form-view").hidden = false;
  byId("title").textContent = which ? `Change ${which}` : `New ${kind.singular}`;
  document.title = `${byId("title").textContent} · Registry`;
  byId("form-title").textContent = name(kind.singular);
  const said = (state, ...content) => byId("form-said").replaceChildren(...(content.length ? [h("div", { class: "notice", "data-state": state, role: "alert" }, content)] : []));
  if (!operates) said("warn", "Changes need an operator who signed in.");
  const ids = {};
  const named = [...new Set(kind.fields.map((field) => field.of).filter(Boolean))];
  await Promise.all(named.map(async (other) => { ids[other] = (await json(`/api/v1/${other}?limit=1000`))[other].map((one) => one.id); }));
  let base = {}, etag = null;
  const load = async () => {
    const answer = await request(`${kind.path}/${encodeURIComponent(which)}`);
    etag = answer.headers.get("ETag");
    return answer.json();
  };
  if (which) {
    try { base = await load(); } catch (error) { said("bad", `${error.message}. ${error.hint || ""}`); return; }
  }
  let made = null;
  const draw = (given) => {
    made = form(kind, given, ids);
    const own = which ? "" : h("div", { class: "field", "data-field": "id" }, h("label", { for: "f-id" }, "Id", h("span", { class: "needed", title: "needed" }, " •")), h("input", { id: "f-id", autocomplete: "off", spellcheck: "false", maxlength: 48, "aria-describedby": "d-id e-id" }), h("p", { class: "hint", id: "d-id" }, "1 to 48 letters, digits, - and _. It never changes."), h("p", { class: "fault", id: "e-id", role: "alert", hidden: true }));
    const save = h("button", { type: "submit", class: "primary", disabled: !operates }, which ? "Save" : "Register");
    byId("form").replaceChildren(own, ...made.elements, h("div", { class: "row wide" }, save, h("a", { class: "button", href: which ? path(which) : path() }, "Back")));
  };
  draw(base);
  byId("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    said();
    const values = made.read(), own = which || byId("f-id").value.trim();
    const sent = { method: which ? "PUT" : "POST", headers: { "Content-Type": "application/json", ...(which ? { "If-Match": etag } : {}) }, body: JSON.stringify(which ? values : { id: own || null, ...values }) };
    try {
      await request(which ? `${kind.path}/${encodeURIComponent(which)}` : kind.path, sent);
      location.href = path(own);
    } catch (error) {
      if (which && error.status === 412) { conflict(values); return; }
      const idFault = which ? null : error.message.split("; ").find((text) => text.includes("field `id`") || error.status === 409 && text.includes("already"));
      if (!which) {
        byId("e-id").hidden = !idFault;
        byId("e-id").textContent = idFault ? idFault.replace(/^.*?(missing )?field `id`:? ?/, (all, missing) => missing ? "This is needed." : "") : "";
        if (idFault) byId("f-id").setAttribute("aria-invalid", "true"); else byId("f-id").removeAttribute("aria-invalid");
      }
      const isNamed = made.fault(error.message);
      if (idFault) byId("f-id").focus();
      said("bad", isNamed || idFault ? "Not saved: look at the marked fields." : `${error.message}. ${error.hint || ""}`);
      say("Not saved.");
    }
  });

  // Somebody was faster: what only he changed is taken over, and where both did the visitor decides.
  async function conflict(own) {
    let now;
    try { now = await load(); } catch (error) { said("bad", error.status === 404 ? "It was deleted meanwhile." : error.message); return; }
    const theirs = changes(kind, base, now), ours = changes(kind, base, own);
    const both = theirs.filter((line) => ours.some((one) => one.field === line.field) && JSON.stringify(own[line.field.field] ?? null) !== JSON.stringify(line.after ?? null));
    const merged = { ...now };
    for (const line of ours) if (line.after === undefined) delete merged[line.field.field]; else merged[line.field.field] = line.after;
    base = now;
    draw(merged);
    const rows = theirs.map((line) => {
      const field = line.field, isBoth = both.includes(line);
      const choose = (text, given) => h("button", { type: "button", class: "small", on: { click: () => { const now = made.read(); if (given === undefined) delete now[field.field]; else now[field.field] = given; draw(now); say(`${titleOf(field.field)}: ${text}`); } } }, text);
      return h("tr", {}, h("th", { scope: "row" }, titleOf(field.field)), h("td", {}, value(field, line.before)), h("td", {}, value(field, line.after)), h("td", {}, isBoth ? value(field, own[field.field]) : h("span", { class: "unknown" }, "not changed")), h("td", {}, isBoth ? [choose("Take theirs", line.after), " ", choose("Keep yours", own[field.field])] : "taken over"));
    });
    said("warn",
      h("p", {}, h("strong", {}, `${now.updated_by} saved version ${now.version} while you were writing. `), both.length ? "Look at both values, choose, and save again; yours stand in the form now." : "You changed other fields, so nothing is lost: save again."),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Both versions" }, h("table", { id: "conflict" }, h("thead", {}, h("tr", {}, ["Field", "It was", "Theirs", "Yours", "What stands"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows))));
    byId("form-said").scrollIntoView({ block: "nearest" });
    say("Somebody else changed it.");
  }
}
