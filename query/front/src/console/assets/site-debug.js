// Sets made-up values, and shows what the controller would do.
import { byId, h, json, open, send, setText, watch } from "./console.js";
import { mono, update } from "./table.js";

await open("/debug.html");
let seen = new Map();

async function give(path, body) {
  const note = byId("order");
  try {
    const answer = await send("POST", `/api/debug/${path}`, body);
    note.hidden = true;
    return answer;
  } catch (error) {
    if (error.status === 404) { isOff(); return null; }
    note.dataset.state = "bad";
    note.hidden = false;
    note.textContent = `${error.message}${error.hint ? `. ${error.hint}` : ""}`;
    return null;
  } finally { watcher.now(); }
}

function isOff() {
  byId("off").hidden = false;
  byId("off").textContent = "Debugging is off. Set debug = true in the controller’s configuration, and start it again.";
  for (const control of document.querySelectorAll("#main form button, #main form input, #main form select, #end, #raw-go")) control.disabled = true;
}

byId("signal").addEventListener("submit", (event) => { event.preventDefault(); give("power-signal", { level: byId("level").value }); });
byId("temperature").addEventListener("submit", (event) => {
  event.preventDefault();
  const humidity = byId("humidity").valueAsNumber;
  give("temperature", { celsius: byId("celsius").valueAsNumber, humidity_pct: Number.isNaN(humidity) ? null : humidity });
});
const watts = (id) => { const value = byId(id).valueAsNumber; return Number.isNaN(value) ? undefined : value; };
byId("miner").addEventListener("submit", (event) => {
  event.preventDefault();
  const power_w = watts("miner-watts");
  give("miners", { machine: byId("miner-name").value.trim() || undefined, power_w, state: power_w === undefined ? byId("miner-state").value : undefined });
});
byId("fan").addEventListener("submit", (event) => {
  event.preventDefault();
  give("fans", { fan: watts("fan-number"), state: byId("fan-state").value, watts: watts("fan-watts") });
});
byId("end").addEventListener("click", async () => { await give("end"); seen = new Map(); });
byId("raw-go").addEventListener("click", async () => { const state = await give("raw-state"); if (state) byId("raw").textContent = JSON.stringify(state, null, 2); });

const FEW = 6;
const fanText = (fan) => [fan.is_on === null ? null : fan.is_on ? "on" : "off", fan.watts === null ? null : `${fan.watts} W`].filter(Boolean).join(", ");
// The first few of many made-up values.
const some = (noun, all, textOf) => [...all.slice(0, FEW).map(([name, value]) => `${noun} ${name}: ${textOf(value)}`), all.length > FEW ? `${all.length - FEW} more` : null];
const nameOf = (target) => typeof target === "string" ? target : Object.entries(target).map(([kind, name]) => `${kind} ${name}`).join();

const watcher = watch({
  every: 1, area: byId("debug-area"), ask: () => json("/api/v1/site"),
  show: (site) => {
    const values = site.debug?.[1];
    const parts = values ? [values.signal ? `the signal says ${values.signal}` : null, values.temperature_c === null ? null : `${values.temperature_c} °C`, values.humidity_pct === null ? null : `${values.humidity_pct} %`, ...some("machine", Object.entries(values.miners), (watts) => `${watts} W`), ...some("fan", Object.entries(values.fans), fanText)].filter(Boolean) : [];
    setText(byId("simulation-text"), values ? `${site.debug[0]} set: ${parts.join(", ") || "nothing yet"}. The real site is ${site.state.replaceAll("_", " ")}.` : "Nothing is made up now. What you set here drives no machine, unless the policy allows it.");
    byId("simulation").toggleAttribute("data-on", Boolean(values));
    byId("end").disabled = !values || !byId("off").hidden;
    for (const command of site.simulated) seen.set(command.id, command);
    const rows = [...seen.values()].slice(-100).reverse();
    setText(byId("would-note"), rows.length ? "commands that nothing received" : "");
    update(byId("would"), [
      { name: "Command", number: true, of: (row) => String(row.id) },
      { name: "To", of: (row) => mono(nameOf(row.target)) },
      { name: "What", of: (row) => h("span", {}, nameOf(row.action)) },
    ], rows, { key: (row) => row.id, empty: values ? "Nothing would be switched so far." : "Set a value first." });
  },
});

// Without debugging there is no such route, which is the answer.
json("/api/debug/raw-state").catch((error) => error.status === 404 && isOff());
