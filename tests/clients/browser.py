"""What the walks through pages share: a browser whose pages may not complain, pictures, and a check for accessibility."""
import pathlib, re, time

from playwright.sync_api import expect

PATIENCE_S = 240
THEMES = {"light": (1280, 900), "dark": (1280, 900), "phone": (360, 780)}
expect.set_options(timeout=PATIENCE_S * 1000)

STARTED = time.monotonic()


def note(what):
    """Says when, for a walk that fails or is slow."""
    print(f"{time.monotonic() - STARTED:6.1f} s {what}", flush=True)


def until(fact, what):
    """Waits until there is such a fact, and gives it; `what` says what is missing if there is none, or is asked for that."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = fact()
        if found:
            return found
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.3)


class Watch:
    """What no page may do: complain, or ask another host."""

    def __init__(self, context, base):
        self.base, self.complaints, self.is_away, self.allowed = base, [], False, []
        # What a server that runs a part of everything answers again and again.
        self.usual = set()
        context.on("page", self.look)

    def look(self, page):
        page.on("console", lambda message: message.type in ("error", "warning") and self.note(f"{page.url}: {message.text}"))
        page.on("pageerror", lambda error: self.note(f"{page.url}: {error}"))
        page.on("request", lambda request: self.asked(request.url))

    def asked(self, url):
        if not url.startswith((self.base + "/", "data:", "blob:", "about:")):
            self.complaints.append(f"asked another host: {url}")

    def note(self, text):
        # While the server is away each request fails, and the browser says so. One that has too much to do on a slow machine
        # sends some away, is not ready, or has no memory left for a statement over hundreds of small files; the page asks again.
        is_load = any(f"status of {status}" in text for status in {429, 503, 504, 507} | self.usual)
        if self.is_away or is_load:
            return
        expected = next((one for one in self.allowed if one in text), None)
        if expected:
            self.allowed.remove(expected)
        else:
            self.complaints.append(text)

    def allow(self, *statuses):
        """What is refused next is a failed request, of which the browser speaks: once for each of these."""
        self.allowed += [f"status of {status}" for status in statuses]

    def check(self):
        """Nobody complained since, and what was allowed is over."""
        assert not self.complaints, self.complaints
        self.allowed.clear()


def accessible(page, axe, name):
    """Nothing that keeps people out, by the word of axe-core."""
    page.evaluate(pathlib.Path(axe).read_text())
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})")
    serious = [(fault["id"], fault["nodes"][0]["html"][:160], fault["nodes"][0]["failureSummary"][:300]) for fault in found["violations"] if fault["impact"] in ("serious", "critical")]
    assert not serious, (name, serious)
    assert len(found["passes"]) > 10, name


def known(page, name):
    """A figure that is there: neither a dash nor empty."""
    expect(page.locator(f"#{name}")).to_have_text(re.compile(r"^[^–\s]"))


def press_to(page, fact, key="Tab", most=300):
    """Goes on by keyboard until a fact holds of what has the focus."""
    for _ in range(most):
        page.keyboard.press(key)
        if page.evaluate(f"(one => {fact})(document.activeElement)"):
            return
    raise AssertionError(f"no {key} leads to where {fact}")


def launch(playwright):
    return playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])


def picture(browser, base, storage, axe, shots, pages, until_came):
    """Every page in light, dark and at the width of a phone, where nothing may stick out. `pages` gives those of a theme: name and path;
    `until_came` waits until one shows what it is for."""
    for theme, (width, height) in THEMES.items():
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if theme == "dark" else "light", storage_state=storage)
        context.set_default_timeout(PATIENCE_S * 1000)
        watch = Watch(context, base)
        for name, path in pages(theme):
            page = context.new_page()
            page.goto(base + path)
            expect(page.locator("#link")).to_have_attribute("data-state", "live")
            until_came(page, name)
            note(f"{name} {theme} came")
            page.screenshot(path=f"{shots}/{name}-{theme}.png", full_page=True)
            accessible(page, axe, f"{name} {theme}")
            wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert wide[0] <= wide[1], (name, theme, wide)
            page.close()
            note(f"{name} {theme}")
        watch.check()
        context.close()
