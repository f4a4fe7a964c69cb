// Users and service tokens on the operator's page.
import { ago, byId, canManageAccounts, copyButton, h, json, send, setText, watch } from "./console.js";
import { count, seconds, short, DASH } from "./format.js";
import { fill, mono, tag } from "./table.js";
import { confirm } from "./confirm.js";

// `order` runs an order and says below the heading of the section what became of it.
export async function showAccounts(order) {
  const manages = await canManageAccounts;
  const accounts = watch({
    every: 20, area: byId("accounts-area"), ask: () => json("/api/v1/accounts"),
    failed: (error) => { setText(byId("accounts-note"), ""); fill(byId("accounts"), [{ name: "Users and tokens", wrap: true, of: (row) => row }], [error.message]); },
    show: ({ accounts: rows }) => {
      setText(byId("accounts-note"), manages ? "" : "an admin who signed in makes and revokes them");
      fill(byId("accounts"), [
        { name: "Name", of: (row) => row.name },
        { name: "Kind", of: (row) => row.kind },
        { name: "Role", of: (row) => tag(row.role, "") },
        { name: "May send", wrap: true, of: (row) => row.streams?.join(", ") || DASH },
        { name: "Address", of: (row) => row.address ? mono(short(row.address, 6, 4), row.address) : DASH },
        { name: "Made", of: (row) => ago(time(row.created_us)) },
        { name: "By", of: (row) => row.created_by },
        { name: "Last used", of: (row) => row.last_used_us ? ago(time(row.last_used_us)) : DASH },
        { name: "Ends", of: (row) => ends(row) },
        { name: "Order", of: (row) => manages ? h("button", { type: "button", class: "small", "aria-label": `Revoke ${row.name}`, on: { click: () => revoke(row) } }, "Revoke") : "" },
      ], rows.slice(0, 500), { empty: "There is no user and no token yet." });
      if (rows.length > 500) setText(byId("accounts-note"), `the first 500 of ${count(rows.length)}`);
    },
  });

  async function revoke(row) {
    if (!await confirm(`Revoke ${row.name}`, `The ${row.kind} ${row.name} is let in no more, and its sessions end.`, row.name, "Revoke")) return;
    await order("accounts-area", `${row.name} is revoked.`, () => send("DELETE", `/api/v1/accounts/${encodeURIComponent(row.name)}`).then(() => null));
    accounts.now();
  }

  const fit = () => {
    byId("add-address-field").hidden = byId("add-role").value !== "miner";
    byId("add-address").required = byId("add-role").value === "miner";
    byId("add-life-field").hidden = byId("add-kind").value !== "token";
  };
  byId("add-account").hidden = !manages;
  byId("add-kind").onchange = byId("add-role").onchange = fit;
  fit();

  byId("add-account").addEventListener("submit", async (event) => {
    event.preventDefault();
    const kind = byId("add-kind").value, role = byId("add-role").value, name = byId("add-name").value.trim(), life = byId("add-life").value;
    const asked = { kind, name, role, own_password: byId("add-password").value };
    if (role === "miner") asked.address = byId("add-address").value.trim();
    if (kind === "token" && life) asked.expires_s = Number(life);
    byId("add-password").value = "";
    showSecret(null);
    await order("accounts-area", `${name} is made.`, async () => { showSecret(await send("POST", "/api/v1/accounts", asked)); byId("add-name").value = ""; });
    accounts.now();
  });
}

// What nobody sees again, until the page is left or it is put away.
function showSecret(made) {
  const place = byId("secret");
  place.hidden = !made;
  if (!made) { place.replaceChildren(); return; }
  const what = made.kind === "token" ? `Token of ${made.name}` : `Password of ${made.name}`;
  const away = h("button", { type: "button", class: "small", on: { click: () => showSecret(null) } }, "Put away");
  place.replaceChildren(h("p", {}, `${what}; it is shown this once.`), h("div", { class: "copy" }, h("code", { id: "secret-text" }, made.secret), copyButton(() => made.secret), away));
}

function time(us) { return new Date(us / 1000).toISOString(); }

function ends(row) {
  if (!row.expires_us) return row.kind === "token" ? "when revoked" : DASH;
  const left = row.expires_us / 1e6 - Date.now() / 1000;
  return left > 0 ? `in ${seconds(left)}` : tag("over", "bad");
}
