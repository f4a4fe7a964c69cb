"""What a page does that opens and stays open: it paints at once, and a day of answers leaves nothing behind."""
from browser import PATIENCE_S, Watch, note

# What a page waits for before its first paint: styles, and which theme the visitor chose.
BLOCKING_FILES, BLOCKING_BYTES = 3, 20_000
# A page's clock runs so much faster; what it holds after the first hour is what it may hold after a day.
SPEED, WARM_H, END_H = 8000, 1, 24
# Until the server has told it everything once it runs less fast.
FIRST_SPEED = 20
# Answers that a page wants in the first hour and from then on, at least; and those since it was last told something by the
# server itself: then all that it asks for is there.
WARM_ASKED, END_ASKED, KNOWN = 100, 1000, 6
# What was thrown away is counted until the browser has gone through its memory, which takes some turns.
COLLECTIONS = 20
# What a page may hold more in the end, beside a fifth: what was replaced just now may not have been thrown away yet.
MORE = {"elements": 100, "nodes": 500, "listeners": 100, "heap_kb": 1500}
# A page that keeps something of each answer, which has to be found out.
LEAKY = "/pool#leaks"

# The clock and the timers of a page, which run faster when they are told to, and its answers: the first of each address is the
# server's; what is asked again gets the same with other numbers and times, so that everything is drawn anew, and the server
# is not asked for a day's answers within seconds.
FASTER = """
(() => {
  const RealDate = Date;
  let speed = 1, base = RealDate.now(), since = base, last = 0, rest = null;
  const now = () => base + (RealDate.now() - since) * speed;
  const later = window.setTimeout.bind(window), never = window.clearTimeout.bind(window), timers = new Map();
  const arm = (id, timer) => { timer.handle = later(() => fire(id, timer), Math.max(0, timer.due - now()) / speed); };
  const fire = (id, timer) => {
    if (timer.every === null) timers.delete(id);
    else { timer.due = now() + timer.every; arm(id, timer); }
    timer.run();
  };
  const start = (run, ms, every) => {
    const id = last -= 1, timer = { run, due: now() + (ms || 0), every };
    timers.set(id, timer);
    arm(id, timer);
    return id;
  };
  const stop = (id) => { if (timers.has(id)) { never(timers.get(id).handle); timers.delete(id); } };
  window.setTimeout = (run, ms, ...more) => start(() => run(...more), ms, null);
  window.setInterval = (run, ms, ...more) => start(() => run(...more), ms, ms || 0);
  window.clearTimeout = window.clearInterval = stop;
  const faster = window.faster = (by) => {
    base = now(); since = RealDate.now(); speed = by;
    for (const [id, timer] of timers) { never(timer.handle); arm(id, timer); }
  };
  // The clock runs until so many hours have passed and so many answers were wanted, and then walks again.
  window.hurry = (by, hours, answers) => { rest = { end: now() + hours * 3.6e6, asked: window.asked + answers }; faster(by); };
  window.isResting = () => rest === null;
  window.Date = class extends RealDate {
    constructor(...of) { if (of.length) super(...of); else super(now()); }
    static now() { return now(); }
  };
  const limit = AbortSignal.timeout.bind(AbortSignal);
  AbortSignal.timeout = (ms) => speed > 1 ? new AbortController().signal : limit(ms);
  const real = window.fetch.bind(window), kept = new Map(), leaked = [];
  // Answers that were wanted, those of the server that are on their way, and how many were wanted since the last of them came.
  window.asked = window.coming = window.known = 0;
  window.fetch = async (url, options) => {
    window.asked += 1;
    window.known += 1;
    if (rest && now() > rest.end && window.asked > rest.asked) { rest = null; faster(1); }
    if (location.hash === "#leaks") { leaked.push(document.createElement("i")); leaked.at(-1).addEventListener("click", () => leaked); }
    // What a page asks from now on is the same question later.
    const key = `${url}${options?.body || ""}`.replace(/\\d{4}-\\d\\d-\\d\\dT[^&"']*|\\d{9,}/g, "then");
    let one = kept.get(key);
    if (!one) {
      window.coming += 1;
      try {
        const answer = await real(url, options);
        one = { text: await answer.text(), type: answer.headers.get("content-type") || "", status: answer.status };
      } finally { window.coming -= 1; }
      // A server that has too much to do is asked again, until the clock runs faster.
      if (rest || (one.status !== 429 && one.status < 500)) { kept.set(key, one); window.known = 0; }
    }
    let { text } = one;
    if (one.type.includes("svg")) text = text.replace("</svg>", `<g class="n${Math.random()}"></g></svg>`);
    else text = text.replace(/\\d+\\.\\d{3,}/g, (number) => String(Number(number) * (0.9 + Math.random() / 5)))
      .replace(/"\\d{4}-\\d\\d-\\d\\dT[^"]*"/g, () => JSON.stringify(new Date(now() - Math.random() * 60000).toISOString()))
      .replace(/"(height|acknowledged|accepted)":(\\d+)/g, (_, name, number) => `"${name}":${Number(number) + Math.floor(Math.random() * 1000)}`);
    return new Response(text, { status: one.status, headers: { "content-type": one.type } });
  };
})();
"""


def paint_soon(browser, base, storage, paths):
    """Each page shows its first content before it was told anything: no answer of the server about data is there yet, nothing of the page is in the browser's cache, and it needed few files. Milliseconds depend on what else the machine does, so that they are noted and not judged."""
    for path in paths:
        context = browser.new_context(storage_state=storage)
        context.set_default_timeout(PATIENCE_S * 1000)
        page, held = context.new_page(), []
        page.route("**/api/**", lambda route: held.append(route))
        page.goto(base + path, wait_until="commit")
        page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
        paint, files, bytes_ = page.evaluate("""() => {
            const at = performance.getEntriesByName("first-contentful-paint")[0].startTime;
            const before = performance.getEntriesByType("resource").filter((one) => one.renderBlockingStatus === "blocking");
            return [at, before.length, before.reduce((all, one) => all + one.transferSize, 0)];
        }""")
        assert files <= BLOCKING_FILES and bytes_ <= BLOCKING_BYTES, (path, files, bytes_)
        note(f"first paint of {path[:12]} {paint:.0f} ms after {files} files of {bytes_} bytes, {len(held)} answers are held back")
        for route in held:
            route.abort()
        context.close()


class OpenPage:
    """A page whose clock can run faster, and what it held when."""

    def __init__(self, context, base, path):
        self.path, self.page, self.held = path, context.new_page(), []
        self.cdp = context.new_cdp_session(self.page)
        self.cdp.send("Performance.enable")
        self.page.goto(base + path)

    def hurry(self, hours, answers):
        """So many hours pass within seconds, or as long as it takes to want so many answers."""
        self.page.evaluate("([speed, hours, answers]) => window.hurry(speed, hours, answers)", [SPEED, hours, answers])

    def measure(self):
        for _ in range(2):
            self.cdp.send("HeapProfiler.collectGarbage")
        metrics = {one["name"]: one["value"] for one in self.cdp.send("Performance.getMetrics")["metrics"]}
        elements, asked = self.page.evaluate("[document.querySelectorAll('*').length, window.asked]")
        return {"elements": elements, "nodes": metrics["Nodes"], "listeners": metrics["JSEventListeners"], "heap_kb": metrics["JSHeapUsedSize"] / 1024, "asked": asked}

    def hold(self):
        """Notes what it holds, once what nobody needs is thrown away."""
        self.held.append(self.measure())
        for turn in range(COLLECTIONS):
            is_first = len(self.held) == 1
            if turn == 3 if is_first else not self.grown():
                break
            one = self.measure()
            self.held[-1] = {name: min(one[name], known) for name, known in self.held[-1].items()}

    def grown(self):
        warm, end = self.held
        return [name for name, more in MORE.items() if end[name] >= warm[name] * 1.2 + more]


def fast_context(browser, storage):
    context = browser.new_context(storage_state=storage)
    context.set_default_timeout(PATIENCE_S * 1000)
    context.add_init_script(FASTER)
    return context


def stay_small(browser, other, base, storage, paths):
    """After a day of answers a page holds what it held after the first hour. `other` is a browser for the page that does not, because what pages hold is counted by the process."""
    contexts = [fast_context(one, storage) for one in (browser, other)]
    watch = Watch(contexts[0], base)
    # This server has no pool, whose terms and bans the pages ask for.
    watch.usual.add(404)
    pages = [OpenPage(contexts[0], base, path) for path in paths] + [OpenPage(contexts[1], base, LEAKY)]
    for page in pages:
        page.page.evaluate("speed => window.faster(speed)", FIRST_SPEED)
        page.page.wait_for_function("known => !window.coming && window.known > known", arg=KNOWN)
        page.page.evaluate("window.faster(1)")
    # What pages hold is counted by the process: each begins when all are quiet.
    for hours, answers in ((WARM_H, WARM_ASKED), (END_H - WARM_H, END_ASKED)):
        for page in pages:
            page.hurry(hours, answers)
        for page in pages:
            page.page.wait_for_function("() => window.isResting()")
        for page in pages:
            page.hold()
    for page in pages:
        note(f"{page.path[:12]} after {WARM_H} h and {END_H} h: {page.held}")
        assert bool(page.grown()) == (page.path == LEAKY), (page.path, page.grown(), page.held)
    watch.check()
    for context in contexts:
        context.close()
