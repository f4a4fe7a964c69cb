"""What the walks through pages share: a browser whose pages may not complain, pictures, and a check for accessibility."""
import json, pathlib, re, time, urllib.error, urllib.request

from playwright.sync_api import expect

PATIENCE_S = 240
THEMES = {"light": (1280, 900), "dark": (1280, 900), "phone": (360, 780)}
# What a server answers that has too much to do: it sends some away, is not ready, is too slow, or has no memory left for a
# statement over hundreds of small files.
BUSY = {429, 503, 504, 507}
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


def read_json(address):
    """An answer of the server; one that has too much to do is asked again."""
    def answer():
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE_S) as found:
                return [json.load(found)]
        except urllib.error.HTTPError as error:
            assert error.code in BUSY, (address, error.code, error.read())
            return None

    return until(answer, f"{address} is not answered")[0]


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
        # While the server is away each request fails, and the browser says so. One that is busy is asked again by the page.
        is_load = any(f"status of {status}" in text for status in BUSY | self.usual)
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


def sign_in(page, base, password, to):
    """Signs ann in, who then sees the page that she wanted."""
    page.goto(f"{base}/sign-in?to={to}")

    def is_in():
        page.fill("#name", "ann")
        page.fill("#password", password)
        page.click("#login button")
        # A server that has too much to do refuses, and may be asked again.
        page.wait_for_function("to => location.pathname === to || document.querySelector('#refusal')?.hidden === false", arg=to)
        return page.url == base + to

    until(is_in, lambda: page.locator("#refusal").inner_text())
    expect(page.locator("#account")).to_contain_text("ann")


def launch(playwright):
    """A browser of a playwright, or of the kind that it has."""
    return getattr(playwright, "chromium", playwright).launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])


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
