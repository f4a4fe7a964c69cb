"""Walks every page of a coordinator in a browser, while two workers mine for it; kills the coordinator and starts it again.

usage: dashboard.py COOPMINE POOL WALLET GRPC_PORT PAGES_PORT AXE SCREENSHOTS   (started by the test in dashboard.rs, in a folder of its own)
"""
import json, os, pathlib, re, signal, subprocess, sys, time, urllib.error, urllib.request

from playwright.sync_api import expect, sync_playwright

program, pool, wallet, grpc, port, axe, shots = sys.argv[1:]
BASE = f"http://127.0.0.1:{port}"
TOKEN = "a long random word of this test"
PATIENCE_S = 240
THEMES = {"light": (1280, 900), "dark": (1280, 900), "phone": (360, 780)}
PAGES = ("cluster", "workers", "shares", "jobs", "sign-in")
expect.set_options(timeout=PATIENCE_S * 1000)
STARTED = time.monotonic()


def note(what):
    """Says when, for a walk that fails or is slow."""
    print(f"{time.monotonic() - STARTED:6.1f} s {what}", flush=True)


class Process:
    """The program in one of its parts; what it says is kept beside it."""

    def __init__(self, name, *arguments):
        self.log = pathlib.Path(f"{name}.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()


def coordinator():
    pathlib.Path("coordinator.toml").write_text(
        f'heartbeat_interval = "500ms"\nworker_timeout = "20s"\n[cluster]\nid = "farm"\nname = "farm"\n[pool]\naddress = "{pool}"\nwallet = "{wallet}"\n'
        f'[grpc]\nlisten = "127.0.0.1:{grpc}"\n[dashboard]\nlisten = "127.0.0.1:{port}"\ntoken = "{TOKEN}"\n'
    )
    running = Process("coordinator", "coordinator", "--config", "coordinator.toml")
    until(lambda: running.process.poll() is None and health(), f"no coordinator: {running.log.read_text()[-2000:]}")
    return running


def worker(name, threads):
    return Process(name, "worker", "--coordinator", f"127.0.0.1:{grpc}", "--worker-id", name, "--threads", str(threads), "--mode", "light")


def until(fact, what):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = fact()
        if found:
            return found
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def health():
    try:
        with urllib.request.urlopen(f"{BASE}/health", timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as unhealthy:
        return json.load(unhealthy)
    except OSError:
        return None


def ask(path):
    """As a program does, beside the pages."""
    request = urllib.request.Request(BASE + path, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


class Watch:
    """What no page may do: complain, or ask another host."""

    def __init__(self, context):
        self.complaints, self.is_away, self.sockets = [], False, 0
        context.on("page", self.look)

    def look(self, page):
        page.on("console", lambda message: message.type in ("error", "warning") and self.note(f"{page.url}: {message.text}"))
        page.on("pageerror", lambda error: self.note(f"{page.url}: {error}"))
        page.on("request", lambda request: self.check_host(request.url))
        page.on("websocket", self.opened)

    def opened(self, socket):
        self.sockets += 1
        self.check_host(socket.url.replace("ws:", "http:", 1))

    def check_host(self, url):
        if not url.startswith((BASE + "/", "data:", "blob:", "about:")):
            self.complaints.append(f"another host: {url}")

    def note(self, text):
        # While the coordinator is away each request fails, and the browser says so; one with too much to do may send some away.
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


def changes(page, selector):
    """A text that becomes another one without a reload."""
    before = page.locator(selector).inner_text()
    page.wait_for_function("([selector, before]) => document.querySelector(selector).innerText !== before", arg=[selector, before], timeout=PATIENCE_S * 1000)


def sign_in(page, watch):
    page.goto(BASE + "/")
    page.wait_for_url(BASE + "/sign-in?to=%2Fcluster")
    # A refusal is a failed request, of which the browser speaks.
    watch.is_away = True
    page.fill("#token", "not the token")
    page.press("#token", "Enter")
    expect(page.locator("#refusal")).to_contain_text("the token is wrong")
    watch.is_away = False
    page.fill("#token", TOKEN)
    page.press("#token", "Enter")
    page.wait_for_url(BASE + "/cluster")
    expect(page.locator("#account")).to_contain_text("operator")


def walk_cluster(page, watch):
    page.goto(BASE + "/cluster")
    page.evaluate("window.stays = 'the same page'")
    # With a keyboard the first stop leads past the menu.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for name in ("f-hashrate", "f-workers", "f-job", "f-accepted"):
        known(page, name)
    expect(page.locator("#f-pool")).to_contain_text("connected")
    expect(page.locator("#f-pool")).to_contain_text(pool)
    expect(page.locator("#f-workers")).to_contain_text("2 / 2")
    known(page, "f-credited")
    changes(page, "#f-hashrate")
    changes(page, "#f-accepted")
    expect(page.locator("#chart svg polyline").first).to_be_attached()
    expect(page.locator("#shares tbody")).to_contain_text("accepted")
    assert page.evaluate("window.stays") == "the same page"
    assert watch.sockets > 0, "the numbers came over no WebSocket"


def row(page, name):
    return page.locator(f"#workers tbody tr[data-key='{name}']")


def press(page, label):
    """A button by the keyboard alone."""
    button = page.get_by_role("button", name=label, exact=True)
    expect(button).to_be_enabled()
    button.focus()
    page.keyboard.press("Enter")


def walk_workers(page):
    page.goto(BASE + "/workers")
    rig = row(page, "rig-1")
    expect(rig).to_contain_text("mining")
    expect(rig.locator("svg polyline")).to_be_attached()
    until(lambda: ask("/api/workers/rig-1")["hashrate_hs"] > 0, "rig-1 does not hash")
    press(page, "Pause rig-1")
    expect(rig).to_contain_text("pause: verified")
    expect(rig).to_contain_text("paused")
    expect(rig.locator("td").nth(2)).to_have_text("0 H/s")
    expect(rig).to_contain_text("0 / 2")
    paused = ask("/api/workers/rig-1")
    assert paused["hashrate_hs"] == 0 and paused["threads_active"] == 0, paused
    # Two answers of two moments: it is looked at again where they do not agree.
    until(lambda: ask("/api/stats")["hashrate_hs"] <= ask("/api/workers/rig-2")["hashrate_hs"] * 2 + 1, "the cluster's hashrate did not fall")
    # The focus is where it was, on what the button has become.
    assert page.evaluate("document.activeElement.ariaLabel") == "Resume rig-1"
    page.keyboard.press("Enter")
    expect(rig).to_contain_text("resume: verified")
    expect(rig).to_contain_text("mining")
    until(lambda: ask("/api/workers/rig-1")["hashrate_hs"] > 0, "rig-1 hashes no more")
    press(page, "Throttle rig-1")
    expect(page.locator("#throttle")).to_be_visible()
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    expect(rig).to_contain_text("throttle: verified")
    expect(rig).to_contain_text("1 / 2")
    # What a worker cannot do it says in its own words.
    press(page, "Throttle rig-2")
    page.keyboard.type("90")
    page.select_option("#throttle-unit", "watts")
    page.get_by_role("button", name="Throttle", exact=True).click()
    expect(row(page, "rig-2")).to_contain_text("throttle: refused")
    expect(row(page, "rig-2")).to_contain_text("watts_per_thread")
    press(page, "Resume rig-1")
    expect(rig).to_contain_text("resume: verified")
    expect(rig).to_contain_text("2 / 2")


def walk_shares_and_jobs(page):
    page.goto(BASE + "/shares")
    lines = page.locator("#shares tbody tr")
    expect(lines.filter(has_text="accepted").first).to_be_visible()
    expect(lines.filter(has_text="right").first).to_be_visible()
    page.goto(BASE + "/jobs")
    expect(page.locator("#jobs tbody")).to_contain_text("mined now")
    expect(page.locator("#jobs tbody")).to_contain_text("rx/0")
    expect(page.locator("#leases tbody")).to_contain_text("rig-")


def picture_for_docs(page):
    """The workers' page with one of them paused, as the documents show it."""
    page.goto(BASE + "/workers")
    press(page, "Pause rig-2")
    expect(row(page, "rig-2")).to_contain_text("pause: verified")
    expect(row(page, "rig-1").locator("svg polyline")).to_be_attached()
    page.screenshot(path=f"{shots}/coopmine.png", clip={"x": 0, "y": 0, "width": 1280, "height": 330})
    press(page, "Resume rig-2")
    expect(row(page, "rig-2")).to_contain_text("resume: verified")


def survive(page, running, watch):
    page.goto(BASE + "/workers")
    expect(row(page, "rig-1")).to_contain_text("mining")
    page.evaluate("window.stays = 'the same page'")
    watch.is_away = True
    running.kill()
    expect(page.locator("#lost")).to_be_visible()
    expect(page.locator("#link")).to_have_attribute("data-state", "lost")
    expect(page.locator("#workers-area")).to_have_attribute("data-stale", "")
    expect(page.locator("#workers-area .age")).to_contain_text("old")
    # What is shown stays, grey.
    expect(row(page, "rig-1")).to_contain_text("mining")
    page.screenshot(path=f"{shots}/workers-lost.png")
    running = coordinator()
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#link")).to_have_attribute("data-state", "live")
    expect(page.locator("#workers-area[data-stale]")).to_have_count(0)
    # The workers come again, and the session outlives the coordinator.
    expect(row(page, "rig-1")).to_contain_text("mining")
    expect(page.get_by_role("button", name="Pause rig-1", exact=True)).to_be_enabled()
    assert page.evaluate("window.stays") == "the same page"
    return running


def sign_out(page):
    page.goto(BASE + "/cluster")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(BASE + "/sign-in?to=%2Fcluster")


def picture(browser, storage):
    """Every page in light, dark and at the width of a phone, where nothing may stick out."""
    for theme, (width, height) in THEMES.items():
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if theme == "dark" else "light", storage_state=storage)
        watch = Watch(context)
        for name in PAGES:
            page = context.new_page()
            page.goto(f"{BASE}/{name}")
            expect(page.locator("#link")).to_have_attribute("data-state", "live")
            if name == "cluster":
                known(page, "f-credited")
                expect(page.locator("#chart svg polyline").first).to_be_attached()
                expect(page.locator("#shares tbody")).to_contain_text("accepted")
            if name == "workers":
                expect(row(page, "rig-2").locator("svg polyline")).to_be_attached()
            if name in ("shares", "jobs"):
                expect(page.locator(f"#{name} tbody td").nth(3)).to_be_visible()
            page.screenshot(path=f"{shots}/{name}-{theme}.png", full_page=True)
            accessible(page, f"{name} {theme}")
            wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert wide[0] <= wide[1], (name, theme, wide)
            page.close()
        watch.check()
        context.close()


def main():
    os.makedirs(shots, exist_ok=True)
    running = coordinator()
    workers = [worker("rig-1", 2), worker("rig-2", 1)]
    try:
        until(lambda: ask("/api/stats")["shares"]["accepted"] > 0, "no share was accepted")
        note("a share was accepted")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            context = browser.new_context()
            context.set_default_timeout(PATIENCE_S * 1000)
            watch = Watch(context)
            page = context.new_page()
            sign_in(page, watch)
            note("sign_in")
            walk_cluster(page, watch)
            note("walk_cluster")
            walk_workers(page)
            note("walk_workers")
            walk_shares_and_jobs(page)
            note("walk_shares_and_jobs")
            watch.check()
            picture(browser, context.storage_state())
            picture_for_docs(page)
            note("picture")
            running = survive(page, running, watch)
            note("survive")
            watch.is_away = False
            sign_out(page)
            note("sign_out")
            watch.check()
            browser.close()
    finally:
        for one in workers:
            one.end()
        running.end()
    note("ended")
    print("dashboard: all is well")


main()
