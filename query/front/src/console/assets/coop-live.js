// The coordinator's numbers as its WebSocket sends them, about once a second; where none gets through, by asking.
import { json } from "./console.js";

// Milliseconds between attempts, and after which a socket that says nothing is given up.
const RETRY = 5000, SILENCE = 8000;

let socket = null, tried = 0;
const waiting = new Set();

function settle(message) {
  for (const resolve of waiting) resolve(message);
  waiting.clear();
}

function connect() {
  tried = Date.now();
  const url = new URL("/ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const opened = new WebSocket(url);
  socket = opened;
  opened.addEventListener("message", (event) => settle(JSON.parse(event.data)));
  opened.addEventListener("close", () => {
    if (socket === opened) socket = null;
    settle(null);
  });
}

function nextMessage() {
  return new Promise((resolve) => {
    waiting.add(resolve);
    setTimeout(() => { if (waiting.delete(resolve)) resolve(null); }, SILENCE);
  });
}

// The next numbers: {stats, workers}.
export async function numbers() {
  if (!socket && Date.now() - tried >= RETRY) connect();
  if (socket) {
    const message = await nextMessage();
    if (message) return message;
    socket?.close();
    socket = null;
  }
  const [stats, { workers }] = await Promise.all([json("/api/stats"), json("/api/workers")]);
  return { stats, workers };
}

const STATES = {
  offline: ["bad", "offline"], quarantine: ["bad", "in quarantine"], paused: ["warn", "paused"],
  throttled: ["warn", "throttled"], idle: ["warn", "idle"], mining: ["good", "mining"],
};

// What a worker does, in one word of STATES.
function stateOf(worker) {
  const { command } = worker;
  const holds = command && (command.state === "verified" || command.state === "acknowledged");
  if (!worker.online) return "offline";
  if (worker.quarantined) return "quarantine";
  if (holds && command.command === "pause") return "paused";
  if (worker.hashrate_hs === 0) return "idle";
  return holds && command.command.startsWith("throttle") ? "throttled" : "mining";
}

// Its kind, for the dot, and its words.
export function state(worker) {
  const [kind, words] = STATES[stateOf(worker)];
  return { kind, words, isPaused: stateOf(worker) === "paused" };
}
