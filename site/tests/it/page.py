"""Walks the pages of a site's controller in a browser: figures, override, emergency stop, reset, and the controller away.

usage: page.py URL TOKEN AXE SCREENSHOTS   (started by the test in page.rs, which stops and starts the controller when it is asked to)
"""
import json, os, pathlib, re, sys, time, urllib.request

from playwright.sync_api import expect, sync_playwright

BASE, TOKEN, axe, shots = sys.argv[1:]
PATIENCE_S = 240
THEMES = {"light": (1280, 900), "dark": (1280, 900), "phone": (360, 780)}
PAGES = {"site": "/site", "machines": "/site/machines", "decisions": "/site/decisions", "events": "/site/events", "debug": "/debug.html", "sign-in": "/sign-in"}
expect.set_options(timeout=PATIENCE_S * 1000)
STARTED = time.monotonic()


def note(what):
    """Says when, for a walk that fails or is slow."""
    print(f"{time.monotonic() - STARTED:6.1f} s {what}", flush=True)


def please(what):
    """Asks the test that started this one."""
    print(f"please: {what}", flush=True)
    assert sys.stdin.readline() == "done\n"


def ask(path, body=None):
    """As a program does, beside the pages."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data, {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class Watch:
    """What no page may do: complain, or ask another host."""

    def __init__(self, context):
        self.complaints, self.is_away = [], False
        context.on("page", self.look)

    def look(self, page):
        page.on("console", lambda message: message.type in ("error", "warning") and self.note(f"{page.url}: {message.text}"))
        page.on("pageerror", lambda error: self.note(f"{page.url}: {error}"))
        page.on("request", lambda request: self.check_host(request.url))

    def check_host(self, url):
        if not url.startswith((BASE + "/", "data:", "blob:", "about:")):
            self.complaints.append(f"another host: {url}")

    def note(self, text):
        # While the controller is away each request fails, and the browser says so; one with too much to do may send some away.
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


def state(page, words):
    expect(page.locator("#f-state")).to_contain_text(words)


def sign_in(page):
    page.goto(BASE + "/")
    page.wait_for_url(BASE + "/sign-in?to=%2Fsite")
    page.fill("#token", TOKEN)
    page.press("#token", "Enter")
    page.wait_for_url(BASE + "/site")
    expect(page.locator("#account")).to_contain_text("operator")


def figures(page):
    state(page, "running")
    page.evaluate("window.stays = 'the same page'")
    for name in ("f-power", "f-target", "f-temperature", "f-fans", "f-machines", "f-authority"):
        known(page, name)
    expect(page.locator("#name")).to_have_text("north")
    expect(page.locator("#reason")).to_contain_text("running at")
    expect(page.locator("#line svg")).to_have_attribute("aria-label", re.compile("A: .*B: "))
    expect(page.locator("#air svg")).to_be_visible()
    expect(page.locator("#power svg .target")).to_be_attached()
    expect(page.locator("#fans tbody tr")).to_have_count(2)
    expect(page.locator("#inputs tbody")).to_contain_text("meter/site")
    expect(page.locator("#caps tbody tr").first).to_contain_text("design power")


def accept(page):
    """A page of a signal changes: it is not known until somebody has looked at it, and says why."""
    row = page.locator("#signals tbody tr", has_text="notice")
    expect(row).to_contain_text("normal")
    please("change")
    expect(row).to_contain_text("layout changed")
    page.get_by_role("button", name="Accept the new page of notice").click()
    expect(page.locator("#ask-title")).to_contain_text("Accept the new page of notice")
    page.fill("#ask-reason", "a column was added")
    page.click("#ask-go")
    expect(row).to_contain_text("normal")
    expect(page.get_by_role("button", name="Accept the new page of notice")).to_have_count(0)
    expect(page.get_by_role("link", name="Last answers of notice")).to_have_attribute("href", "/api/v1/site/signals/notice/evidence")


def override(page):
    """With its expiry, and what it would stop before it is given."""
    page.fill("#by", "ann")
    page.fill("#override-kw", "16")
    expect(page.locator("#override-preview")).to_contain_text(re.compile(r"target 16\.0 kW, stops \d machines \(old-"))
    page.select_option("#override-for", label="30 min")
    page.fill("#override-reason", "the transformer is hot")
    page.press("#override-reason", "Enter")
    expect(page.locator("#f-authority")).to_contain_text("a person")
    expect(page.locator("#override-now")).to_contain_text(re.compile(r"at most 16\.0 kW, by ann .*ends in (30|29) min"))
    given = ask("/api/v1/site")["override"]
    assert given["cap_kw"] == 16 and given["reason"] == "the transformer is hot", given
    page.click("#override-end")
    expect(page.locator("#f-authority")).to_contain_text("automatic")
    expect(page.locator("#override-now")).to_contain_text("None is in force")


def curtail(page):
    ask("/api/v1/site/signals/utility", {"requests": [{"level": "curtail", "cap_kw": 14.0, "event": "heat"}], "for_s": 600.0})
    expect(page.locator("#ribbon")).to_contain_text("utility: curtail to 14.0 kW")
    state(page, "curtailed")
    expect(page.locator("#caps tbody tr").first).to_contain_text("mandatory signal")
    expect(page.locator("#f-machines")).to_contain_text("stopped")
    # An override cannot lift it, and the page says so before it is tried.
    page.fill("#override-kw", "20")
    expect(page.locator("#override-preview")).to_contain_text("an override does not change that")
    page.fill("#override-kw", "")


def walk_others(page):
    page.goto(BASE + "/site/machines")
    expect(page.locator("#machines tbody tr")).to_have_count(8)
    page.get_by_role("button", name=re.compile("^stopped")).click()
    expect(page.locator("#machines tbody tr").first).to_contain_text("stopped")
    assert page.url.endswith("?state=stopped"), page.url
    page.goto(BASE + "/site/machines?find=new-2")
    expect(page.locator("#machines tbody tr")).to_have_count(1)
    page.goto(BASE + "/site/decisions")
    page.check("#only-changes")
    expect(page.locator("#decisions tbody")).to_contain_text("running → curtailing")
    page.locator("#decisions tbody button").first.click()
    expect(page.locator("#one-caps tbody")).to_contain_text("decides")
    expect(page.locator("#one-inputs tbody")).to_contain_text("temperature")


def report(page):
    """Of a curtailment that is over: listed with its scores, as a page of its own, and for other programs."""
    ask("/api/v1/site/signals/utility", {"requests": [{"level": "normal"}], "for_s": 600.0})
    page.goto(BASE + "/site/events")
    row = page.locator("#events tbody tr").first
    expect(row).to_contain_text("metered")
    with urllib.request.urlopen(urllib.request.Request(BASE + row.get_by_role("link", name=re.compile("as CSV")).get_attribute("href"), headers={"Authorization": f"Bearer {TOKEN}"}), timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/csv"), answer.headers
        assert answer.read().startswith(b"event,site,signal,")
    accessible(page, "events with a row")
    # In this tab, so that the eyes on complaints see it: the report's own policy lets nothing in.
    row.get_by_role("link", name=re.compile("as page")).click()
    expect(page.locator("h1")).to_contain_text("of north")
    expect(page.locator("figure svg polyline").first).to_be_attached()
    expect(page.locator("dl").nth(0)).to_contain_text("north")
    page.screenshot(path=f"{shots}/report.png", full_page=True)
    page.pdf(path=f"{shots}/report-print.pdf", format="A4", prefer_css_page_size=True)
    page.go_back()
    expect(page.locator("#events tbody tr").first).to_contain_text("metered")


def power_state():
    return ask("/api/v1/site")["state"]


def stop_with_pointer(page):
    button = page.locator("#stop")
    button.scroll_into_view_if_needed()
    button.click()
    expect(page.locator("#stop-said")).to_contain_text("Nothing was stopped")
    page.wait_for_timeout(2500)
    assert power_state() != "tripped", "a short click stopped the site"
    button.hover()
    # What it says while it is held stands for two seconds only.
    page.evaluate("""() => {
      const said = document.querySelector("#stop-said");
      window.told = [];
      new MutationObserver(() => window.told.push(said.textContent)).observe(said, { childList: true, characterData: true, subtree: true });
    }""")
    page.mouse.down()
    expect(page.locator("#stop-said")).to_contain_text("Stopped: every machine")
    told = page.evaluate("window.told")
    assert any("Let go to leave it running" in text for text in told), told
    page.mouse.up()
    state(page, "tripped")
    assert power_state() == "tripped"
    expect(page.locator("#trips")).to_contain_text("emergency stop by ann")
    acknowledge = page.get_by_role("button", name=re.compile("^Acknowledge everything is switched off"))
    acknowledge.click()
    expect(page.locator("#alarms")).to_contain_text("acknowledged")


def reset(page):
    """By the keyboard alone."""
    expect(page.locator("#reset-go")).to_be_enabled()
    page.focus("#reset-reason")
    page.keyboard.type("looked at everything")
    page.keyboard.press("Enter")
    expect(page.locator("#trip-area")).to_be_hidden()
    expect(page.locator("#f-state")).not_to_contain_text("tripped")


def stop_with_keyboard(page):
    page.goto(BASE + "/site")
    known(page, "f-state")
    # With a keyboard the first stop leads past the menu.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "stop"
    page.keyboard.press("Enter")
    expect(page.locator("#stop-said")).to_contain_text("Nothing was stopped")
    page.keyboard.down("Space")
    expect(page.locator("#stop-said")).to_contain_text("Stopped: every machine")
    page.keyboard.up("Space")
    state(page, "tripped")
    reset(page)
    # Whoever can hold nothing types the word.
    page.locator("#stop-typed summary").focus()
    page.keyboard.press("Enter")
    page.focus("#stop-word")
    page.keyboard.type("STO")
    expect(page.locator("#stop-go")).to_be_disabled()
    page.keyboard.type("P")
    expect(page.locator("#stop-go")).to_be_enabled()
    page.keyboard.press("Enter")
    state(page, "tripped")
    reset(page)


def stop_signed_out(browser, page):
    """On the controller's own machine the stop needs no sign-in; the reset of a trip does."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    watch, other = Watch(context), context.new_page()
    other.goto(BASE + "/")
    other.wait_for_url(BASE + "/sign-in?to=%2Fsite")
    other.locator("#stop-typed summary").click()
    other.fill("#stop-word", "STOP")
    other.press("#stop-word", "Enter")
    expect(other.locator("#stop-said")).to_contain_text("Stopped: every machine")
    watch.check()
    context.close()
    state(page, "tripped")
    reset(page)


def debug(page):
    page.goto(BASE + "/debug.html")
    expect(page.locator("#simulation")).to_contain_text("SIMULATION")
    page.fill("#celsius", "41")
    page.press("#celsius", "Enter")
    expect(page.locator("#simulation-text")).to_contain_text("41 °C")
    expect(page.locator("#order")).to_be_hidden()
    page.goto(BASE + "/site")
    expect(page.locator("#simulation")).to_contain_text("SIMULATION")
    page.goto(BASE + "/debug.html")
    page.click("#end")
    expect(page.locator("#simulation-text")).to_contain_text("Nothing is made up now")


def survive(page, watch):
    page.goto(BASE + "/site")
    known(page, "f-power")
    page.evaluate("window.stays = 'the same page'")
    watch.is_away = True
    please("stop")
    expect(page.locator("#lost")).to_contain_text("has not answered")
    expect(page.locator("#live")).to_have_attribute("data-stale", "")
    expect(page.locator("#live > header .age")).to_contain_text("old")
    # What is shown stays, grey.
    known(page, "f-target")
    shown = page.locator("#f-target").inner_text()
    page.screenshot(path=f"{shots}/lost.png")
    assert page.locator("#f-target").inner_text() == shown
    please("start")
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#live[data-stale]")).to_have_count(0)
    assert page.evaluate("window.stays") == "the same page"
    watch.is_away = False


def picture(browser, storage):
    """Every page in light, dark and at the width of a phone, where nothing may stick out."""
    for theme, (width, height) in THEMES.items():
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if theme == "dark" else "light", storage_state=storage)
        context.set_default_timeout(PATIENCE_S * 1000)
        watch = Watch(context)
        page = context.new_page()
        for name, path in PAGES.items():
            page.goto(BASE + path)
            expect(page.locator("#link")).to_have_attribute("data-state", "live")
            if name == "site":
                known(page, "f-power")
                expect(page.locator("#power svg .target")).to_be_attached()
            if name in ("machines", "decisions"):
                expect(page.locator(f"#{name} tbody td").nth(3)).to_be_visible()
            page.screenshot(path=f"{shots}/{name}-{theme}.png", full_page=True)
            if (name, theme) == ("site", "light"):
                # As the documents show it.
                page.screenshot(path=f"{shots}/site.png", full_page=True, clip={"x": 0, "y": 0, "width": 1280, "height": 960})
            accessible(page, f"{name} {theme}")
            wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert wide[0] <= wide[1], (name, theme, wide)
        watch.check()
        context.close()


def main():
    os.makedirs(shots, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(PATIENCE_S * 1000)
        watch = Watch(context)
        page = context.new_page()
        sign_in(page)
        for step in (figures, accept, override, curtail):
            step(page)
            note(step.__name__)
        picture(browser, context.storage_state())
        note("picture")
        walk_others(page)
        report(page)
        note("report")
        page.goto(BASE + "/site")
        for step in (stop_with_pointer, reset, stop_with_keyboard):
            step(page)
            note(step.__name__)
        stop_signed_out(browser, page)
        note("stop_signed_out")
        debug(page)
        note("debug")
        survive(page, watch)
        note("survive")
        watch.check()
        browser.close()


main()
