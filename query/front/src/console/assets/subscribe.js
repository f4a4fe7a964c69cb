// Server-Sent Events that are taken up again whenever they end. An EventSource ends for good at an answer that is no 200,
// as of a proxy before a server that starts, and does not tell which one it was; this asks by fetch.
import { Refusal, request } from "./console.js";

// Milliseconds: the first pause and the longest, and after which a server that says nothing is given up; it says something
// at least every five seconds.
const PAUSE = 500, LONGEST = 10000, SILENCE = 20000;

// Calls `event(name, data)` for each one, `lost(pause)` when they end, with the milliseconds until they are asked for again,
// and `refused(error)` when asking again would change nothing. Returns what stops it.
export function subscribe(url, { event, lost, refused }) {
  const stopped = new AbortController();
  follow(url, stopped.signal, { event, lost, refused });
  return () => stopped.abort();
}

async function follow(url, stopped, { event, lost, refused }) {
  let pause = PAUSE;
  while (!stopped.aborted) {
    try {
      await read(url, stopped, (name, data) => {
        pause = PAUSE;
        // A fault of the page itself is no fault of the server.
        try { event(name, data); } catch (error) { console.error(error); }
      });
    } catch (error) {
      if (error instanceof Refusal && error.status < 500 && ![408, 429].includes(error.status)) { refused(error); return; }
    }
    if (stopped.aborted) return;
    // Not all pages at once.
    const length = pause * (0.5 + Math.random());
    lost(length);
    await new Promise((resolve) => { setTimeout(resolve, length); });
    pause = Math.min(2 * pause, LONGEST);
  }
}

async function read(url, stopped, event) {
  const quiet = new AbortController();
  let timer = null;
  const wait = () => { clearTimeout(timer); timer = setTimeout(() => quiet.abort(), SILENCE); };
  try {
    wait();
    const answer = await request(url, { signal: AbortSignal.any([stopped, quiet.signal]), headers: { Accept: "text/event-stream" } });
    const text = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await text.read();
      if (done || stopped.aborted) return;
      wait();
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const one of events) {
        const lines = one.split("\n");
        const of = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2)).join("\n");
        if (of("event")) event(of("event"), of("data"));
      }
    }
  } finally { clearTimeout(timer); }
}
