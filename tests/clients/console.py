"""Walks every page of the console in a browser, on a demo that it starts, kills and starts again.

usage: console.py HEADFRAME LISTEN_PORT STRATUM_PORT AXE SCREENSHOTS   (started by the test in console.rs, in a folder of its own)
"""
import json, os, pathlib, re, signal, subprocess, sys, time, urllib.parse, urllib.request

import pyarrow.parquet
from playwright.sync_api import expect, sync_playwright

import mine_pages

program, listen, stratum, axe, shots = sys.argv[1:]
BASE = f"http://127.0.0.1:{listen}"
PATIENCE_S = 240
PASSWORD = "a long enough password"
THEMES = {"light": (1280, 900), "dark": (1280, 900), "phone": (360, 780)}
expect.set_options(timeout=PATIENCE_S * 1000)


class Demo:
    """The program with everything under it."""

    def __init__(self):
        self.said = open("demo.txt", "ab")
        command = [program, "demo", "--data", "demo", "--listen", f"127.0.0.1:{listen}", "--stratum", f"127.0.0.1:{stratum}", "--difficulty", "4"]
        self.process = subprocess.Popen(command, stdout=self.said, stderr=open("demo.log", "ab"))

    def until_up(self):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(f"{BASE}/api/v1/pool/terms", timeout=5) as answer:
                    return json.load(answer)
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, tail("demo.txt") + tail("demo.log")
                time.sleep(0.2)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()


STARTED = time.monotonic()


def note(what):
    """Says when, for a walk that fails or is slow."""
    print(f"{time.monotonic() - STARTED:6.1f} s {what}", flush=True)


def tail(name):
    return pathlib.Path(name).read_text(errors="replace")[-3000:]


def said(pattern):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = re.search(pattern, tail("demo.txt"))
        if found:
            return found
        assert time.monotonic() < deadline, tail("demo.txt")
        time.sleep(0.2)


def ask(path):
    with urllib.request.urlopen(BASE + path, timeout=60) as answer:
        return json.load(answer)


def until(fact, what):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = fact()
        if found:
            return found
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


class Watch:
    """What no page may do: complain, or ask another host."""

    def __init__(self, context):
        self.complaints, self.is_away = [], False
        context.on("page", self.look)

    def look(self, page):
        page.on("console", lambda message: message.type in ("error", "warning") and self.note(f"{page.url}: {message.text}"))
        page.on("pageerror", lambda error: self.note(f"{page.url}: {error}"))
        page.on("request", lambda request: self.asked(request.url))

    def asked(self, url):
        if not url.startswith((BASE + "/", "data:", "blob:", "about:")):
            self.complaints.append(f"asked another host: {url}")

    def note(self, text):
        # While the server is away each request fails, and the browser says so. One that has too much to do on a slow machine
        # sends some away, or is not ready; the page asks again.
        is_load = any(f"status of {status}" in text for status in (429, 503, 504))
        if not self.is_away and not is_load:
            self.complaints.append(text)

    def check(self):
        assert not self.complaints, self.complaints


def accessible(page, name):
    """Nothing that keeps people out, by the word of axe-core."""
    page.evaluate(pathlib.Path(axe).read_text())
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})")
    serious = [(fault["id"], fault["nodes"][0]["html"][:160], fault["nodes"][0]["failureSummary"][:300]) for fault in found["violations"] if fault["impact"] in ("serious", "critical")]
    assert not serious, (name, serious)
    assert len(found["passes"]) > 10, name


def known(page, name):
    """A figure that is there: neither a dash nor empty."""
    expect(page.locator(f"#{name}")).to_have_text(re.compile(r"^[^–\s]"))


def walk_pool(page):
    page.goto(BASE + "/")
    assert page.url == BASE + "/pool", page.url
    # With a keyboard the first stop leads past the menu.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for name in ("f-hashrate", "f-miners", "f-effort", "f-last", "f-network", "f-found"):
        known(page, name)
    expect(page.locator("#chart-area svg polyline").first).to_be_attached()
    expect(page.locator("#blocks tbody tr").first).to_contain_text("ago")
    # A number changes while the page is looked at.
    before = page.locator("#f-found").inner_text()
    page.wait_for_function("before => document.querySelector('#f-found').innerText !== before", arg=before, timeout=PATIENCE_S * 1000)
    page.fill("#own-address", "4Visitor")
    expect(page.locator("#lines code").first).to_contain_text(f"-o 127.0.0.1:{stratum} -u 4Visitor.rig-1")
    expect(page.locator("#lines code").first).to_contain_text("--tls-fingerprint=")
    page.check("#own-solo")
    expect(page.locator("#lines code").first).to_contain_text("-u solo:4Visitor.rig-1")
    expect(page.locator("#lines")).to_contain_text("You mine solo")
    page.uncheck("#own-solo")
    expect(page.locator("#lines code").first).to_contain_text("-u 4Visitor.rig-1")


def become_admin(page, token):
    page.goto(BASE + "/sign-in?to=/operate")
    page.fill("#name", "nobody")
    page.fill("#password", "not the password")
    page.click("#login button")
    expect(page.locator("#refusal")).to_be_visible()
    page.click("#first summary")
    page.fill("#token", token)
    page.fill("#new-name", "ann")
    page.fill("#new-password", PASSWORD)
    page.click("#setup button")
    page.wait_for_url(BASE + "/operate")
    expect(page.locator("#account")).to_contain_text("ann")


def walk_explore(page):
    page.goto(BASE + "/explore")
    expect(page.locator("#tables details").first).to_be_attached()
    page.fill("#sql", "")
    page.locator("#sql").press_sequentially("SELECT height, status FROM blo")
    expect(page.locator("#complete li[aria-selected=true]")).to_contain_text("blocks")
    page.keyboard.press("Enter")
    page.locator("#sql").press_sequentially(" ORDER BY seq LIMIT 3")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#told")).to_contain_text("3 rows")
    shown = [[cell.inner_text() for cell in row.locator("td").all()] for row in page.locator("#rows tbody tr").all()]
    with page.expect_download() as download:
        page.click("[data-format=parquet]")
    table = pyarrow.parquet.read_table(download.value.path())
    read = [[str(row["height"]), row["status"]] for row in table.to_pylist()]
    assert read == shown and len(read) == 3, (read, shown)
    # The link holds the statement.
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(page.url).query)["q"] == ["SELECT height, status FROM blocks ORDER BY seq LIMIT 3"]
    page.click("#as-chart")
    expect(page.locator("#drawing progress").first).to_be_visible()
    page.click("#as-table")
    # What cannot run says why, in the server's words.
    page.fill("#sql", "SELECT nothing FROM blocks")
    page.click("#run")
    expect(page.locator("#failure")).to_contain_text("nothing")


def walk_live(page):
    page.goto(BASE + "/explore")
    page.fill("#sql", "SELECT count(*) AS shares FROM shares")
    page.click("#live")
    cell = page.locator("#rows tbody td")
    expect(cell).to_have_text(re.compile(r"^\d+$"))
    before = cell.inner_text()
    page.wait_for_function("before => document.querySelector('#rows tbody td').innerText !== before", arg=before, timeout=PATIENCE_S * 1000)
    page.click("#live")


def walk_operate(page, miner):
    page.goto(BASE + "/operate")
    expect(page.locator("#ribbon li[data-state]").first).to_be_visible()
    expect(page.locator("#streams tbody")).to_contain_text("shares")
    page.fill("#ban-address", "203.0.113.9")
    page.fill("#ban-reason", "a trial")
    page.click("#ban button")
    row = page.locator("#bans tbody tr", has_text="203.0.113.9")
    expect(row).to_contain_text("a trial")
    row.get_by_role("button").click()
    page.click("#confirm-yes")
    expect(row).to_have_count(0)
    assert ask_as(page, "/api/v1/bans")["bans"] == []
    # Payments are held by typing the end of the account, and nothing else will do.
    for order, is_held in (("hold", True), ("resume", False)):
        page.fill("#hold-account", miner)
        page.click(f"#hold button[value={order}]")
        page.fill("#confirm-word", "what")
        expect(page.locator("#confirm-yes")).to_be_disabled()
        page.fill("#confirm-word", miner[-6:])
        page.click("#confirm-yes")
        expect(page.locator("#payments-area .order")).to_have_attribute("data-state", "good")
        until(lambda: bool([one for one in ask("/api/v1/payments/state")["held"] if one["account"] == miner]) == is_held, f"{order} has no effect")
    page.fill("#why-what", "demo")
    page.click("#why button")
    expect(page.locator("#why-answer")).to_contain_text("It is connected")


def ask_as(page, path):
    return page.evaluate("path => fetch(path).then(answer => answer.json())", path)


def walk_miner(page, miner):
    page.goto(f"{BASE}/miner/{miner}")
    for name in ("f-hashrate", "f-balance", "f-accepted"):
        known(page, name)
    expect(page.locator("#workers tbody")).to_contain_text("demo")
    expect(page.locator("#workers tbody")).to_contain_text("OK")
    page.locator("#payouts tbody button").first.click()
    expect(page.locator("#verdict-word")).to_contain_text("Verified")
    assert page.locator("#verdict .checks li[data-state=bad]").count() == 0
    assert page.locator("#verdict .checks li[data-state=good]").count() >= 7
    # The proof that it made holds by itself, and no forged one does.
    page.click("#verify-area details summary")
    proof = json.loads(page.input_value("#proof"))
    forged = {
        "amount": {**proof, "amount_atomic": str(int(proof["amount_atomic"]) - 1)},
        "root": {**proof, "merkle_root": "ab" * 32},
        "reward": {**proof, "reward_atomic": str(int(proof["reward_atomic"]) + 1)},
        "signature": {**proof, "signature": "00" * 64},
        "key": {**proof, "public_key": "11" * 32},
        "miner": {**proof, "miner": proof["miner"][::-1]},
        "no proof": {"version": 1},
    }
    for name, text in [("own", proof), *forged.items(), ("own", proof)]:
        page.fill("#proof", json.dumps(text))
        page.evaluate("document.querySelector('#verdict').replaceChildren()")
        page.click("#check-proof")
        word = "Verified" if name == "own" else "Refused"
        expect(page.locator("#verdict-word"), name).to_contain_text(word)
    # A key that the visitor knows decides, whatever the server says.
    page.fill("#key", "22" * 32)
    page.click("#check-proof")
    expect(page.locator("#verdict-word")).to_contain_text("Refused")


def survive(page, demo, watch):
    page.goto(BASE + "/pool")
    known(page, "f-hashrate")
    page.evaluate("window.stays = 'the same page'")
    watch.is_away = True
    demo.kill()
    expect(page.locator("#lost")).to_be_visible()
    expect(page.locator("#link")).to_have_attribute("data-state", "lost")
    expect(page.locator("#figures-area")).to_have_attribute("data-stale", "")
    expect(page.locator("#figures-area .age, #figures-area + .age, .age").first).to_contain_text("old")
    known(page, "f-hashrate")
    page.screenshot(path=f"{shots}/pool-lost.png")
    before = page.locator("#f-found").inner_text()
    demo = Demo()
    demo.until_up()
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    watch.is_away = False
    page.wait_for_function("before => document.querySelector('#f-found').innerText !== before", arg=before, timeout=PATIENCE_S * 1000)
    assert page.evaluate("window.stays") == "the same page"
    return demo


# What says that a page of the mine has come.
CAME = {"mine": "#sites tbody a", "energy": "#days-area svg rect[fill='#C25A12']", "anomalies": "#list tbody a", "anomaly": "#chart-area svg polyline", "compliance": "#inspections tbody a", "registry": "#list tbody a", "resource": "#history li", "form": "#form input"}

# Pages of the mine in each theme: all in one, and of the others those that have every colour, and those that are wide.
LOOKED_AT = {"light": set(CAME), "dark": {"mine", "anomaly", "compliance", "resource"}, "phone": {"mine", "energy", "registry", "form"}}


def picture(browser, storage, miner, of_mine):
    """Every page in light, dark and at the width of a phone, where nothing may stick out."""
    for theme, (width, height) in THEMES.items():
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if theme == "dark" else "light", storage_state=storage)
        watch = Watch(context)
        for name, path in (("pool", "/pool"), ("miner", f"/miner/{miner}"), ("explore", "/explore"), ("operate", "/operate"), ("sign-in", "/sign-in"), *((name, path) for name, path in of_mine.items() if name in LOOKED_AT[theme])):
            page = context.new_page()
            page.goto(BASE + path)
            expect(page.locator("#link")).to_have_attribute("data-state", "live")
            if name == "explore":
                page.click("#run")
                expect(page.locator("#told")).to_contain_text("row")
            for figure in {"pool": ("f-hashrate", "f-effort", "f-paid"), "miner": ("f-hashrate", "f-balance"), "operate": ("f-sessions",)}.get(name, ()):
                known(page, figure)
            if name == "operate":
                expect(page.locator("#streams tbody")).to_contain_text("shares")
            if name in CAME:
                expect(page.locator(CAME[name]).first).to_be_attached()
            if name in ("pool", "miner"):
                expect(page.locator("#chart-area svg polyline").first).to_be_attached()
            page.screenshot(path=f"{shots}/{name}-{theme}.png", full_page=True)
            accessible(page, f"{name} {theme}")
            wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert wide[0] <= wide[1], (name, theme, wide)
            page.close()
        watch.check()
        context.close()


def main():
    os.makedirs(shots, exist_ok=True)
    demo = Demo()
    try:
        demo.until_up()
        note("the demo is up")
        token = said(r"hf_setup_\w+")[0]
        miner = said(rf"{BASE}/miner/(\w+)")[1]
        assert f"{BASE}/\n" in pathlib.Path("demo.txt").read_text(), "the demo names no page"
        until(lambda: ask("/api/v1/blocks?limit=3")["blocks"], "no block")
        until(lambda: ask(f"/api/v1/miners/{miner}/payouts")["payouts"], "no payout")
        note("a block and a payout are there")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            context = browser.new_context(accept_downloads=True)
            context.set_default_timeout(PATIENCE_S * 1000)
            watch = Watch(context)
            page = context.new_page()
            walk_pool(page)
            note("walk_pool")
            watch.check()
            # What is refused is a failed request, of which the browser speaks.
            watch.is_away = True
            become_admin(page, token)
            note("become_admin")
            mine, pool = mine_pages.Mine(BASE, PATIENCE_S), ask("/api/v1/pool/terms")["pool"]
            mine_pages.begin(page, mine, pool)
            note("a mine is registered and measured")
            walk_explore(page)
            note("walk_explore")
            watch.is_away = False
            walk_live(page)
            note("walk_live")
            walk_operate(page, miner)
            note("walk_operate")
            walk_miner(page, miner)
            note("walk_miner")
            watch.check()
            watch.is_away = True
            of_mine = mine_pages.walk(page, mine, pool)
            note("walk_mine")
            watch.is_away = False
            page.goto("about:blank")
            picture(browser, context.storage_state(), miner, of_mine)
            note("picture")
            demo = survive(page, demo, watch)
            note("survive")
            watch.check()
            browser.close()
    finally:
        demo.end()
    note("ended")
    print("console: all is well")


main()
