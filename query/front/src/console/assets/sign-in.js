// Begins a session, and makes the first admin.
import { byId, copyButton, h, remembered, send, visitor, wantedPage, watchServer } from "./console.js";

const home = new URL("/pool", location.origin).href;
const target = wantedPage() || home;

if (target !== home) byId("why").textContent = "What you asked for is for users of this server.";

visitor.then(({ principal: who }) => {
  if (who?.proof === "session") byId("why").replaceChildren(`You are signed in as ${who.name}. `, h("a", { href: target }, "Go on"));
  else if (who?.role) byId("why").textContent = "Programs of this machine read without signing in; to give orders, sign in.";
});

function refuse(id, error) {
  byId(id).hidden = false;
  byId(id).textContent = error.status === 401 ? error.message : `${error.message}. ${error.hint || ""}`;
}

async function login(name, password) {
  await send("POST", "/api/v1/login", { name, password });
  location.href = target;
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("refusal").hidden = true;
  try { await login(byId("name").value, byId("password").value); } catch (error) { refuse("refusal", error); }
});

// A miner proves that an address is its own: first it gets a text, then it sends the signature of it.
let challenge = null;
byId("wallet-address").value = remembered("headframe-address") || "";
byId("by-wallet").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("wallet-refusal").hidden = true;
  const address = byId("wallet-address").value.trim();
  try {
    if (challenge === null) {
      challenge = (await send("POST", "/api/v1/login/challenge", { address })).challenge;
      byId("challenge").textContent = challenge;
      byId("challenge").after(copyButton(() => challenge));
      byId("to-sign").hidden = false;
      byId("wallet-address").readOnly = true;
      byId("wallet-go").textContent = "Sign in";
      byId("signature").focus();
      return;
    }
    await send("POST", "/api/v1/login/wallet", { address, challenge, signature: byId("signature").value.trim() });
    location.href = `/miner/${encodeURIComponent(address)}`;
  } catch (error) { refuse("wallet-refusal", error); }
});

// The link of a first start has its token behind the #, which browsers send to nobody. It does not stay in the address.
function takeOffer() {
  const offered = location.hash.slice(1);
  if (!offered.startsWith("hf_setup_")) return;
  history.replaceState(null, "", location.href.split("#")[0]);
  byId("first").open = true;
  byId("token").value = offered;
  byId("new-name").focus();
}
takeOffer();
addEventListener("hashchange", takeOffer);

byId("setup").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("setup-refusal").hidden = true;
  const name = byId("new-name").value, password = byId("new-password").value;
  try {
    await send("POST", "/api/v1/setup", { token: byId("token").value.trim(), name, password });
    await login(name, password);
  } catch (error) { refuse("setup-refusal", error); }
});

watchServer();
