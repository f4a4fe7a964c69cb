"""The pool that walks look at: where it is, who mines there, and what each walk begins with."""
from dataclasses import dataclass

from playwright.sync_api import expect

import browser as walks
from browser import Watch, read_json, until


@dataclass
class Pool:
    """A running server; `password` is that of the admin ann, `stratum` the port for miners, and `miner` has payouts."""

    base: str
    password: str
    miner: str
    stratum: str
    axe: str
    shots: str

    def ask(self, path):
        return read_json(self.base + path)


@dataclass
class Tab:
    """A page of a browser that looks at a pool, and the watch over all pages beside it."""

    pool: Pool
    page: object
    watch: Watch

    def open(self, path):
        self.page.goto(self.pool.base + path)

    def wait_for_change(self, selector):
        """A value changes while the page is looked at."""
        before = self.page.locator(selector).first.inner_text()
        self.page.wait_for_function("([selector, before]) => document.querySelector(selector).innerText !== before", arg=[selector, before])


def sign_in(tab, to="/operate"):
    walks.sign_in(tab.page, tab.pool.base, tab.pool.password, to)


def refuse_sign_in(tab, name="ann"):
    """A name or a password that is wrong lets nobody in, and the page says so."""
    tab.watch.allow(401)
    tab.open("/sign-in?to=/operate")
    page = tab.page

    def is_refused():
        page.fill("#name", name)
        page.fill("#password", "not the password")
        page.click("#login button")
        expect(page.locator("#refusal")).to_be_visible()
        # The browser writes down that the server said no, and not that it had too much to do.
        page.wait_for_timeout(300)
        return not tab.watch.allowed

    until(is_refused, lambda: page.locator("#refusal").inner_text())
    assert "/sign-in" in page.url, page.url
