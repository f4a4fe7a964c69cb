// Begins a session with the controller's token.
import { byId, h, json, send, visitor, wantedPage, watch } from "./console.js";
import { emergencyStop } from "./site-stop.js";

// Nobody knows who stops it here; whether he may, the controller decides.
emergencyStop(() => null, () => null);

const home = new URL("/site", location.origin).href;
const target = wantedPage() || home;

byId("insecure").hidden = isSecureContext;

visitor.then(({ principal }) => {
  if (principal?.proof === "session") byId("why").replaceChildren(`You are signed in as ${principal.name}. `, h("a", { href: target }, "Go on"));
  else if (principal?.role) byId("why").textContent = "Programs of this machine read without signing in; to give orders, sign in.";
});

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("refusal").hidden = true;
  try {
    await send("POST", "/api/v1/login", { token: byId("token").value });
    location.href = target;
  } catch (error) {
    byId("refusal").hidden = false;
    byId("refusal").textContent = `${error.message}. ${error.hint || ""}`;
  }
});

// Watches whether the controller answers.
watch({ every: 5, area: null, ask: () => json("/api/v1/console"), show: () => null });
