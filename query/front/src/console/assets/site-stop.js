// The emergency stop: held for two seconds with a pointer or a key, or typed. A short press does nothing, and says so.
import { byId, say, send, setText } from "./console.js";

const HOLD_MS = 2000;

// `stopped` is called with the controller's answer.
export function emergencyStop(giver, stopped) {
  const button = byId("stop"), fill = byId("stop-fill"), said = byId("stop-said");
  let began = null, frame = null, isSent = false;

  const tell = (text, state) => { setText(said, text); said.dataset.state = state || ""; };
  const paint = () => {
    const share = began === null ? 0 : Math.min(1, (performance.now() - began) / HOLD_MS);
    fill.style.width = `${share * 100}%`;
    if (began === null) return;
    if (share >= 1) { began = null; fill.style.width = "0"; order(); return; }
    frame = requestAnimationFrame(paint);
  };
  const begin = () => {
    if (began !== null || isSent) return;
    began = performance.now();
    button.dataset.held = "";
    tell("Hold on: everything stops in 2 seconds. Let go to leave it running.");
    paint();
  };
  const end = () => {
    delete button.dataset.held;
    if (began === null) return;
    began = null;
    cancelAnimationFrame(frame);
    fill.style.width = "0";
    tell("Nothing was stopped: it was let go before 2 seconds were over.");
  };
  async function order() {
    delete button.dataset.held;
    isSent = true;
    tell("The stop is being sent …", "bad");
    try {
      const answer = await send("POST", "/api/v1/site/emergency-stop", { reason: "emergency stop on the page", by: giver() });
      tell("Stopped: every machine is being switched off. It stays so until somebody resets it.", "bad");
      say("The site is stopped.");
      stopped(answer);
    } catch (error) {
      tell(`NOT STOPPED by this page: ${error.message}. ${error.hint || "Use the button at the site, or cut the power."}`, "bad");
    } finally { isSent = false; }
  }

  button.addEventListener("pointerdown", (event) => { if (event.button === 0) { button.setPointerCapture(event.pointerId); begin(); } });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(name, end);
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  const isKey = (event) => event.key === "Enter" || event.key === " ";
  button.addEventListener("keydown", (event) => { if (isKey(event)) { event.preventDefault(); if (!event.repeat) begin(); } });
  button.addEventListener("keyup", (event) => { if (isKey(event)) { event.preventDefault(); end(); } });
  document.addEventListener("visibilitychange", () => document.hidden && end());

  const word = byId("stop-word");
  word.addEventListener("input", () => { byId("stop-go").disabled = word.value.trim().toUpperCase() !== "STOP"; });
  byId("stop-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (word.value.trim().toUpperCase() !== "STOP" || isSent) return;
    word.value = "";
    byId("stop-go").disabled = true;
    order();
  });
}
