// The page of the workers, and of the commands to them.
import { byId, canOperate, h, json, open, say, send, setText, watch } from "./console.js";
import { count, hashrate, plain, seconds, DASH } from "./format.js";
import { spark } from "./chart.js";
import { numbers, state } from "./coop-live.js";
import { mono, tag, update } from "./table.js";

await open("/workers");
const operates = await canOperate;
if (!operates) byId("lede").textContent = "The machines that hash for this cluster. Commands need an operator who signed in with the coordinator’s token.";

const unknown = (text = DASH) => h("span", { class: "unknown" }, text);

// ---- Commands ------------------------------------------------------------------------------------------------

async function command(id, body, done) {
  const note = byId("order");
  try {
    await send("POST", `/api/workers/${encodeURIComponent(id)}/commands`, body);
    note.hidden = true;
    say(done);
  } catch (error) {
    note.dataset.state = "bad";
    note.hidden = false;
    note.textContent = `${error.message}${error.hint ? `. ${error.hint}` : ""}`;
  }
  watcher.now();
}

function throttle(id) {
  const dialog = byId("throttle");
  byId("throttle-title").textContent = `Throttle ${id}`;
  byId("throttle-number").value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  byId("throttle-number").focus();
  dialog.onclose = () => {
    const number = byId("throttle-number").valueAsNumber, unit = byId("throttle-unit").value;
    if (dialog.returnValue === "yes" && number > 0) command(id, { command: "throttle", [unit]: number }, `${id} is to use no more than ${number} ${unit}.`);
  };
}

byId("throttle-back").addEventListener("click", () => byId("throttle").close("no"));

function buttons(row) {
  const button = (text, run) => h("button", { type: "button", class: "small", disabled: !operates || !row.online, "aria-label": `${text} ${row.id}`, on: { click: run } }, text);
  // One that was paused before the coordinator was started again has no command, and no threads that hash.
  const isPaused = state(row).isPaused || row.online && row.threads_active === 0;
  const first = isPaused
    ? button("Resume", () => command(row.id, { command: "resume" }, `${row.id} is to go on.`))
    : button("Pause", () => command(row.id, { command: "pause" }, `${row.id} is to pause.`));
  const isThrottled = !isPaused && row.command?.command.startsWith("throttle") && row.command.state !== "refused";
  const second = isThrottled
    ? button("Resume", () => command(row.id, { command: "resume" }, `${row.id} is to hash on all threads.`))
    : button("Throttle", () => throttle(row.id));
  return h("span", { class: "state" }, first, second);
}

const COMMANDS = { pause: "pause", resume: "resume", shutdown: "shutdown", throttle_threads: "throttle", throttle_watts: "throttle" };
const STEPS = { sent: "", acknowledged: "accent", verified: "good", refused: "bad" };

function order({ command: given }) {
  if (!given) return unknown("none");
  const words = `${COMMANDS[given.command] || given.command}: ${given.state}`;
  const step = tag(words, STEPS[given.state]);
  return given.refusal ? [step, " ", h("small", {}, given.refusal)] : step;
}

// ---- The table -------------------------------------------------------------------------------------------------

const lines = new Map();

function doing(row) {
  const { kind, words } = state(row);
  const rest = row.quarantine_s ? ` for ${seconds(row.quarantine_s)}` : row.online ? "" : ` for ${seconds(row.silent_s)}`;
  return h("span", { class: "state" }, h("span", { class: "dot", "data-state": kind, "aria-hidden": "true" }), words + rest);
}

function line(row) {
  const drawing = lines.get(row.id);
  return drawing ? spark(drawing, `Hashrate of ${row.id} over time, now ${plain(hashrate(row.hashrate_hs))}.`) : unknown();
}

const COLUMNS = [
  { name: "Worker", of: (row) => mono(row.id, `${row.name} · ${row.agent}`) },
  { name: "State", of: doing },
  { name: "Hashrate", number: true, of: (row) => row.online ? plain(hashrate(row.hashrate_hs)) : unknown() },
  { name: "Commands", of: buttons },
  { name: "Last command", wrap: true, of: order },
  { name: "Shares show", number: true, of: (row) => row.hashrate_shown_hs === null ? unknown() : plain(hashrate(row.hashrate_shown_hs)) },
  { name: "Over an hour", of: line },
  { name: "Threads", number: true, of: (row) => row.online ? `${count(row.threads_active)} / ${count(row.threads)}` : unknown() },
  { name: "Temperature", number: true, of: (row) => row.temperature_c === null ? unknown() : `${row.temperature_c.toFixed(0)} °C` },
  { name: "Last share", of: (row) => row.last_share_s === null ? unknown("none yet") : `${seconds(row.last_share_s)} ago` },
  { name: "Accepted", number: true, of: (row) => count(row.accepted) },
  { name: "Wrong", number: true, of: (row) => row.wrong ? tag(count(row.wrong), "bad") : "0" },
  { name: "Trust", number: true, of: (row) => row.trust_pct < 100 ? tag(`${row.trust_pct} %`, row.trust_pct < 50 ? "bad" : "warn") : "100 %" },
];

const watcher = watch({
  every: 1, area: byId("workers-area"), ask: numbers,
  failed: (error) => setText(byId("workers-note"), `${error.message}. ${error.hint || ""}`),
  show: ({ workers }) => {
    const online = workers.filter((worker) => worker.online).length;
    setText(byId("workers-note"), `${count(online)} of ${count(workers.length)} online`);
    const rows = workers.map((worker) => ({ ...worker, line: lines.get(worker.id) }));
    update(byId("workers"), COLUMNS, rows, { key: (row) => row.id, empty: "No worker has come yet. Start one: coopmine worker --coordinator HOST:PORT" });
  },
});

watch({
  every: 10, area: null, ask: () => json("/api/hashrate"),
  show: ({ workers }) => {
    lines.clear();
    for (const { worker, drawing } of workers) lines.set(worker, drawing);
  },
});
