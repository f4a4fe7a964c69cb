// Begins a session with the coordinator's token, or as a user of the headframe that it runs in.
import { byId, h, json, send, visitor, wantedPage, watch } from "./console.js";

const home = new URL("/cluster", location.origin).href;
const target = wantedPage() || home;

byId("insecure").hidden = isSecureContext;

visitor.then(({ principal, sign_in: ways }) => {
  byId("by-name").hidden = !ways?.account;
  byId("login").hidden = Boolean(ways?.account && !ways.token);
  if (principal?.proof === "session") byId("why").replaceChildren(`You are signed in as ${principal.name}. `, h("a", { href: target }, "Go on"));
  else if (principal?.role) byId("why").textContent = "Programs of this machine read without signing in; to give commands, sign in.";
});

// Sends what a form holds, and goes on to the page that was wanted.
function signIn(form, refusal, body) {
  byId(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    byId(refusal).hidden = true;
    try {
      await send("POST", "/api/v1/login", body());
      location.href = target;
    } catch (error) {
      byId(refusal).hidden = false;
      byId(refusal).textContent = `${error.message}. ${error.hint || ""}`;
    }
  });
}
signIn("login", "refusal", () => ({ token: byId("token").value }));
signIn("by-name", "name-refusal", () => ({ name: byId("name").value, password: byId("password").value }));

// Watches whether the coordinator answers.
watch({ every: 5, area: null, ask: () => json("/api/v1/console"), show: () => null });
